//! A plain driver: a heap of timers, a list of facts. What the machine needs of an engine, and nothing more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use carillon_machine::Costs;
use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::DoorbellRinger;
use carillon_machine::Engine;
use carillon_machine::EoiMode;
use carillon_machine::EventAbi;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
use carillon_machine::Host;
use carillon_machine::Machine;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::Scheduler;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::Timer;
use carillon_machine::VcpuConfig;
use carillon_machine::VcpuLoad;
use carillon_machine::VcpuRef;
use carillon_machine::Vendor;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

pub(crate) const MICROSECOND: u64 = 1_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// Timers in order of time, equal ones in order of setting, and everything observed.
#[derive(Default)]
pub(crate) struct Driver {
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    set: Vec<Timer>,
    pub(crate) facts: Vec<(Time, Fact)>,
}

impl Host for Driver {
    fn schedule(&mut self, at: Time, timer: Timer) {
        self.timers.push(Reverse((at, self.set.len())));
        self.set.push(timer);
    }

    fn observe(&mut self, at: Time, fact: Fact) {
        assert!(self.facts.last().is_none_or(|(before, _)| *before <= at), "facts come in order of time");
        self.facts.push((at, fact));
    }
}

/// A machine with its driver.
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) driver: Driver,
}

impl Run {
    pub(crate) fn new(config: &MachineConfig) -> Self {
        let mut machine = Machine::new(config).unwrap();
        let mut driver = Driver::default();
        machine.start(Time(0), &mut driver);
        machine.check().unwrap();
        Self { machine, driver }
    }

    /// Runs all timers due up to `until`; the machine is checked after each.
    pub(crate) fn until(&mut self, until: u64) {
        while let Some(Reverse((at, index))) =
            self.driver.timers.peek().copied().filter(|Reverse((at, _))| at.0 <= until)
        {
            self.driver.timers.pop();
            let timer = self.driver.set[index];
            self.machine.expire(at, timer, &mut self.driver);
            self.machine.check().unwrap_or_else(|broken| panic!("at {at:?}, {timer:?}: {broken}"));
        }
    }

    /// Raises a source at `at`, after everything due before.
    pub(crate) fn raise(&mut self, at: u64, source: u32) {
        self.until(at);
        self.machine.raise(Time(at), SourceIndex(source), &mut self.driver);
        self.machine.check().unwrap_or_else(|broken| panic!("at {at}, raising {source}: {broken}"));
    }

    /// When facts that `matches` accepts were observed.
    pub(crate) fn times(&self, matches: impl Fn(&Fact) -> bool) -> Vec<u64> {
        self.driver.facts.iter().filter(|(_, fact)| matches(fact)).map(|(at, _)| at.0).collect()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Fact) -> bool) -> usize {
        self.times(matches).len()
    }

    pub(crate) fn dispatched(&self, source: u32) -> Vec<u64> {
        self.times(|fact| matches!(fact, Fact::Dispatched { source: s, .. } if s.0 == source))
    }

    pub(crate) fn completed(&self, source: u32) -> Vec<u64> {
        self.times(|fact| matches!(fact, Fact::Completed { source: s } if s.0 == source))
    }
}

pub(crate) fn vector(number: u8) -> Vector {
    Vector::new(number).unwrap()
}

pub(crate) fn cpus(numbers: &[u32]) -> CpuSet {
    numbers.iter().copied().map(CpuId).collect()
}

/// A machine without domains and sources.
pub(crate) fn empty(cpus: u32) -> MachineConfig {
    MachineConfig {
        cpus,
        vendor: Vendor::Intel,
        model: DestinationModel::Physical,
        layout: VectorLayout::xen(XenLayout::default()),
        ioapic_ack: IoApicAck::New,
        policy: Policy::XenCursor,
        scheduler: Scheduler::Credit2 { ratelimit: Span(MILLISECOND), slice: Span(10 * MILLISECOND) },
        costs: Costs::default(),
        domains: Vec::new(),
        sources: Vec::new(),
    }
}

/// A domain with one vCPU per entry of `starts`, each pinned to its start. Domain 0 is dom0.
pub(crate) fn domain(id: u16, kind: DomainKind, load: VcpuLoad, starts: &[u32]) -> DomainConfig {
    DomainConfig {
        id: DomainId(id),
        owner: owner(id),
        name: format!("d{id}"),
        kind,
        engine: Engine::Posted,
        event_abi: EventAbi::Fifo,
        software_eoi: EoiMode::Early,
        deferred: None,
        vcpus: starts.iter().map(|cpu| VcpuConfig { affinity: cpus(&[*cpu]), start: CpuId(*cpu), load }).collect(),
    }
}

/// The engine that has most on a maker's processors, but for IPI virtualization.
pub(crate) const fn engine_of(vendor: Vendor) -> Engine {
    match vendor {
        Vendor::Intel => Engine::Posted,
        Vendor::Amd => Engine::Avic(DoorbellRinger::Processor),
    }
}

pub(crate) fn owner(id: u16) -> Owner {
    if id == 0 { Owner::Dom0 } else { Owner::Guest(DomainId(id)) }
}

pub(crate) fn to(domain: u16, vcpu: u32) -> VcpuRef {
    VcpuRef { domain: DomainId(domain), vcpu }
}

/// An interrupt that becomes an event of a domain's vCPU.
pub(crate) fn event(
    id: u32,
    kind: SourceKind,
    host_vector: u8,
    cpu: u32,
    handler_of: VcpuRef,
    handler: u64,
) -> SourceConfig {
    SourceConfig {
        id: SourceId(id),
        label: format!("irq {id}"),
        owner: owner(handler_of.domain.0),
        kind,
        vector: Some(vector(host_vector)),
        target: CpuId(cpu),
        path: Path::EventChannel { to: handler_of, handler: Span(handler), priority: FifoPriority::DEFAULT },
    }
}
