//! Turns the machine's facts, one by one, into the result of the run.

use std::collections::BTreeMap;

use carillon_machine::BlockCause;
use carillon_machine::EventDomain;
use carillon_machine::ExitCause;
use carillon_machine::Fact;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::RetentionEnd;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::VcpuRef;
use vector_allocator::CpuId;
use vector_allocator::DomainId;
use vector_allocator::Owner;
use vector_allocator::Vector;

use super::tally::Latencies;
use super::tally::Open;
use super::timeline::SpanLimit;
use super::timeline::Timeline;
use crate::Blocking;
use crate::Count;
use crate::EventAbi;
use crate::EventTraffic;
use crate::Retention;
use crate::RunResult;
use crate::Scenario;
use crate::SourceResult;
use crate::SpanKind;
use crate::TraceHash;
use crate::Waiting;

/// One dom0 interrupt kept waiting by one guest interrupt in one way.
type Block = (SourceIndex, SourceIndex, BlockCause);

/// Hears every fact of a run.
#[derive(Debug)]
pub(super) struct Observer {
    /// The result, as far as it is known before the run.
    result: RunResult,
    hash: TraceHash,
    sources: Vec<Watched>,
    blocked: Open<(Block, CpuId), Block>,
    retained: Open<(SourceIndex, CpuId), SourceIndex>,
    forced: BTreeMap<SourceIndex, u64>,
    waiting: Open<WaitKey, WaitKey>,
    behind: BTreeMap<VcpuKey, VcpuKey>,
    exits: BTreeMap<ExitCause, u64>,
    vcpu_exits: BTreeMap<VcpuKey, u64>,
    guests: Latencies,
    handlers: Open<(SourceIndex, CpuId), ()>,
    running: Open<(VcpuKey, CpuId), ()>,
    timeline: Timeline,
}

/// A vCPU as a key that has an order.
type VcpuKey = (u16, u32);
/// A dom0 vCPU that waits, and the guest's behind which it waits.
type WaitKey = (VcpuKey, VcpuKey);

/// What is noted of a source.
#[derive(Debug)]
struct Watched {
    result: SourceResult,
    /// When it was raised, if no handler of its owner has run since.
    raised: Option<Time>,
    /// How often its vCPU had exited when it was raised.
    exits_before: u64,
    /// Who handles it.
    handler: Option<VcpuKey>,
    /// When it was raised, if the host has not taken it since.
    raised_to_host: Option<Time>,
    latency: Latencies,
    host_latency: Latencies,
    /// Its owner is the hypervisor: the host's handler is its handler.
    ends_in_host: bool,
}

impl Watched {
    fn new(source: &SourceConfig) -> Self {
        let result = SourceResult {
            id: source.id.0,
            label: source.label.clone(),
            owner: source.owner.to_string(),
            vector: source.vector.map(Vector::number),
            cpu: source.target.0,
            raised: 0,
            coalesced: 0,
            completed: 0,
            without_exit: 0,
            moves: 0,
            failed_moves: 0,
            throttled: 0,
            latency: crate::Latency::default(),
            host_latency: crate::Latency::default(),
        };
        Self {
            result,
            raised: None,
            exits_before: 0,
            handler: source.path.handler().map(key),
            raised_to_host: None,
            latency: Latencies::default(),
            host_latency: Latencies::default(),
            ends_in_host: matches!(source.path, Path::Hypervisor { .. }),
        }
    }

    fn raise(&mut self, at: Time, exits: u64) {
        self.result.raised += 1;
        if self.raised.is_none() {
            self.exits_before = exits;
        }
        self.raised.get_or_insert(at);
        self.raised_to_host.get_or_insert(at);
    }

    /// Two are one. If the other is already being handled, as on a line that is still asserted, this one waits for nobody.
    fn coalesce(&mut self, at: Time) {
        self.result.coalesced += 1;
        self.raised.take_if(|raised| *raised == at);
        self.raised_to_host.take_if(|raised| *raised == at);
    }

    fn label(&self) -> String {
        match self.result.vector {
            Some(vector) => format!("{} {vector:02X}", self.result.label),
            None => self.result.label.clone(),
        }
    }

    fn finish(mut self) -> SourceResult {
        self.result.latency = self.latency.summary();
        self.result.host_latency = self.host_latency.summary();
        self.result
    }
}

impl Observer {
    pub(super) fn new(scenario: &Scenario, machine: &MachineConfig, limit: SpanLimit) -> Self {
        let result = RunResult {
            scenario: scenario.name.clone(),
            policy: scenario.policy.to_string(),
            path: scenario.path.to_string(),
            engine: scenario.engine.to_string(),
            host_ns: 0,
            guests_latency: crate::Latency::default(),
            load: scenario.load,
            seed: scenario.seed,
            duration_ns: 0,
            events: 0,
            trace_hash: 0,
            cpus: machine.cpus,
            sources: Vec::new(),
            blocking: Vec::new(),
            exits: Vec::new(),
            event_channels: Vec::new(),
            retention: Vec::new(),
            scheduling: Vec::new(),
            timeline: Vec::new(),
            timeline_is_cut: false,
        };
        Self {
            result,
            hash: TraceHash::new(),
            sources: machine.sources.iter().map(Watched::new).collect(),
            blocked: Open::new(),
            retained: Open::new(),
            forced: BTreeMap::new(),
            waiting: Open::new(),
            behind: BTreeMap::new(),
            exits: BTreeMap::new(),
            vcpu_exits: BTreeMap::new(),
            guests: Latencies::default(),
            handlers: Open::new(),
            running: Open::new(),
            timeline: Timeline::new(machine.cpus, limit),
        }
    }

    /// Hears what happened at `at`.
    pub(super) fn observe(&mut self, at: Time, fact: &Fact) {
        self.hash.add(at, fact);
        match *fact {
            Fact::Raised { source } => {
                let watched = &mut self.sources[source.0 as usize];
                let exits = watched.handler.and_then(|vcpu| self.vcpu_exits.get(&vcpu).copied()).unwrap_or(0);
                watched.raise(at, exits);
            }
            Fact::Coalesced { source } => self.sources[source.0 as usize].coalesce(at),
            Fact::Dispatched { source, cpu, entry, .. } => self.dispatched((at, entry), source, cpu),
            Fact::HostHandlerDone { source, cpu } => self.host_handler_done(at, source, cpu),
            Fact::HandlerEntered { source, .. } => {
                let watched = &mut self.sources[source.0 as usize];
                if let Some(raised) = watched.raised.take() {
                    watched.latency.add(at - raised);
                    if watched.result.is_guests() {
                        self.guests.add(at - raised);
                    }
                }
            }
            Fact::Completed { source } => {
                let watched = &mut self.sources[source.0 as usize];
                watched.result.completed += 1;
                let exits = watched.handler.map(|vcpu| self.vcpu_exits.get(&vcpu).copied().unwrap_or(0));
                watched.result.without_exit += u64::from(exits == Some(watched.exits_before));
            }
            Fact::RetentionBegan { source, cpu } => self.retained.begin((source, cpu), at),
            Fact::RetentionEnded { source, cpu, by } => {
                *self.forced.entry(source).or_default() += u64::from(by == RetentionEnd::Forced);
                self.retention_ended(at, source, cpu);
            }
            Fact::Blocked { victim, by, cpu, cause } => self.blocked.begin(((victim, by, cause), cpu), at),
            Fact::Unblocked { victim, by, cpu, cause } => self.unblocked(at, (victim, by, cause), cpu),
            Fact::VcpuWaits { vcpu, behind, .. } => self.vcpu_waits(at, key(vcpu), key(behind)),
            Fact::VcpuRuns { vcpu, cpu } => {
                self.wait_is_over(at, key(vcpu));
                if self.timeline.is_open() {
                    self.running.begin((key(vcpu), cpu), at);
                }
            }
            Fact::VcpuStops { vcpu, cpu } => self.vcpu_stops(at, key(vcpu), cpu),
            Fact::Exit { vcpu, cause, .. } => {
                *self.exits.entry(cause).or_default() += 1;
                *self.vcpu_exits.entry(key(vcpu)).or_default() += 1;
            }
            Fact::Throttled { source } => self.sources[source.0 as usize].result.throttled += 1,
            Fact::Moved { source, cpu, vector } => {
                let result = &mut self.sources[source.0 as usize].result;
                result.moves += 1;
                result.cpu = cpu.0;
                result.vector = Some(vector.number());
            }
            // Counted by the domain.
            Fact::EoiDelayed { .. } => {}
            Fact::MoveFailed { source, .. } => self.sources[source.0 as usize].result.failed_moves += 1,
        }
    }

    fn dispatched(&mut self, (at, entry): (Time, Span), source: SourceIndex, cpu: CpuId) {
        let watched = &mut self.sources[source.0 as usize];
        let handler = at + entry;
        if let Some(raised) = watched.raised_to_host.take() {
            watched.host_latency.add(handler - raised);
        }
        if watched.ends_in_host
            && let Some(raised) = watched.raised.take()
        {
            watched.latency.add(handler - raised);
        }
        if self.timeline.is_open() {
            self.handlers.begin((source, cpu), at);
        }
    }

    fn host_handler_done(&mut self, at: Time, source: SourceIndex, cpu: CpuId) {
        if let Some(since) = self.handlers.end((source, cpu), at, ()) {
            let watched = &self.sources[source.0 as usize];
            self.timeline.add(cpu, SpanKind::HostHandler, (since, at), || watched.label());
        }
    }

    fn retention_ended(&mut self, at: Time, source: SourceIndex, cpu: CpuId) {
        if let Some(since) = self.retained.end((source, cpu), at, source) {
            let watched = &self.sources[source.0 as usize];
            self.timeline.add(cpu, SpanKind::Retention, (since, at), || watched.label());
        }
    }

    fn unblocked(&mut self, at: Time, block: Block, cpu: CpuId) {
        if let Some(since) = self.blocked.end((block, cpu), at, block) {
            let (victim, by) = (&self.sources[block.0.0 as usize], &self.sources[block.1.0 as usize]);
            let label = || format!("{} by {}", victim.label(), by.label());
            self.timeline.add(cpu, SpanKind::Dom0Blocked, (since, at), label);
        }
    }

    fn vcpu_waits(&mut self, at: Time, vcpu: VcpuKey, behind: VcpuKey) {
        if self.behind.get(&vcpu) != Some(&behind) {
            self.wait_is_over(at, vcpu);
            self.behind.insert(vcpu, behind);
            self.waiting.begin((vcpu, behind), at);
        }
    }

    fn wait_is_over(&mut self, at: Time, vcpu: VcpuKey) {
        if let Some(behind) = self.behind.remove(&vcpu) {
            self.waiting.end((vcpu, behind), at, (vcpu, behind));
        }
    }

    fn vcpu_stops(&mut self, at: Time, vcpu: VcpuKey, cpu: CpuId) {
        if let Some(since) = self.running.end((vcpu, cpu), at, ()) {
            self.timeline.add(cpu, SpanKind::Vcpu, (since, at), || name(vcpu));
        }
    }

    /// Closes what is still open at the end, and tells what happened.
    pub(super) fn finish(
        mut self,
        end: Time,
        events: u64,
        host_time: Span,
        event_channels: impl Iterator<Item = EventDomain>,
    ) -> RunResult {
        self.close(end);
        let id = |source: SourceIndex| self.sources[source.0 as usize].result.id;
        let blocking = self.blocked.tallies.iter().map(|(&(victim, by, cause), tally)| Blocking {
            victim: id(victim),
            by: id(by),
            cause: cause_name(cause).to_owned(),
            times: tally.times,
            total_ns: tally.total,
            max_ns: tally.max,
        });
        let retention = self.retained.tallies.iter().map(|(source, tally)| Retention {
            source: id(*source),
            times: tally.times,
            forced: self.forced.get(source).copied().unwrap_or(0),
            total_ns: tally.total,
            max_ns: tally.max,
        });
        let scheduling = self.waiting.tallies.iter().map(|(&(vcpu, behind), tally)| Waiting {
            vcpu: name(vcpu),
            behind: name(behind),
            times: tally.times,
            total_ns: tally.total,
            max_ns: tally.max,
        });
        let exits = self.exits.iter().map(|(cause, times)| Count { name: exit_name(*cause).to_owned(), times: *times });
        let (blocking, retention) = (blocking.collect(), retention.collect());
        let (scheduling, exits) = (scheduling.collect(), exits.collect());
        let (timeline, timeline_is_cut) = self.timeline.finish();
        RunResult {
            duration_ns: end.0,
            events,
            host_ns: host_time.0,
            guests_latency: self.guests.summary(),
            trace_hash: self.hash.value(),
            sources: self.sources.into_iter().map(Watched::finish).collect(),
            blocking,
            exits,
            event_channels: event_channels.map(traffic).collect(),
            retention,
            scheduling,
            timeline,
            timeline_is_cut,
            ..self.result
        }
    }

    fn close(&mut self, end: Time) {
        for (source, cpu) in self.handlers.pending() {
            self.host_handler_done(end, source, cpu);
        }
        for (source, cpu) in self.retained.pending() {
            self.retention_ended(end, source, cpu);
        }
        for (block, cpu) in self.blocked.pending() {
            self.unblocked(end, block, cpu);
        }
        for (vcpu, _) in self.waiting.pending() {
            self.wait_is_over(end, vcpu);
        }
        for (vcpu, cpu) in self.running.pending() {
            self.vcpu_stops(end, vcpu, cpu);
        }
    }
}

fn traffic(of: EventDomain) -> EventTraffic {
    let EventDomain { domain, abi, sent, coalesced, upcalls, kicks, delayed } = of;
    let abi = match abi {
        carillon_machine::EventAbi::Fifo => EventAbi::Fifo,
        carillon_machine::EventAbi::TwoLevel => EventAbi::TwoLevel,
    };
    let owner = if domain == DomainId(0) { Owner::Dom0 } else { Owner::Guest(domain) };
    EventTraffic { domain: owner.to_string(), abi: abi.name().to_owned(), sent, coalesced, upcalls, kicks, delayed }
}

fn key(vcpu: VcpuRef) -> VcpuKey {
    (vcpu.domain.0, vcpu.vcpu)
}

fn name((domain, vcpu): VcpuKey) -> String {
    format!("d{domain}v{vcpu}")
}

const fn cause_name(cause: BlockCause) -> &'static str {
    match cause {
        BlockCause::ServedFirst => "served first",
        BlockCause::HandlerRunning => "handler running",
        BlockCause::InService => "in service",
    }
}

const fn exit_name(cause: ExitCause) -> &'static str {
    match cause {
        ExitCause::ExternalInterrupt => "external interrupt",
        ExitCause::Eoi => "EOI",
        ExitCause::InterruptWindow => "interrupt window",
        ExitCause::Halt => "halt",
        ExitCause::Kick => "kick",
        ExitCause::Preempted => "pre-empted",
        ExitCause::ApicAccess => "APIC access",
        ExitCause::ApicWrite => "APIC write",
        ExitCause::IncompleteIpi => "incomplete IPI",
        ExitCause::NoAcceleration => "not accelerated",
    }
}
