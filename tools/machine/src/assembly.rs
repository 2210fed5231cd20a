//! Building a machine from its configuration.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use vector_allocator::AckType;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::Owner;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

use crate::ConfigError;
use crate::DomainConfig;
use crate::Machine;
use crate::MachineConfig;
use crate::Path;
use crate::SourceConfig;
use crate::SourceIndex;
use crate::Span;
use crate::VcpuRef;
use crate::apic::Apics;
use crate::apic::Blocking;
use crate::apic::Ledger;
use crate::apic::Messages;
use crate::apic::Need;
use crate::apic::Surroundings;
use crate::apic::Tenancy;
use crate::apic::TooManyMessages;
use crate::events::Connection;
use crate::events::Events;
use crate::irq::Irq;
use crate::irq::Masks;
use crate::irq::Service;
use crate::irq::Side;
use crate::machine::Special;
use crate::pcpu::Cpu;
use crate::relocate::Arbiter;
use crate::sched::Scheduler;
use crate::source::Link;
use crate::source::Route;
use crate::source::Source;
use crate::source::SourceQueue;
use crate::storm::StormGuard;
use crate::trigger::Msi;
use crate::trigger::Pin;
use crate::trigger::Trigger;
use crate::vcpu::Activity;
use crate::vcpu::Residency;
use crate::vcpu::TaskPriority;
use crate::vcpu::Vcpu;
use crate::vcpu::VcpuIndex;
use crate::vcpu::VcpuSide;

/// Xen's event-check IPI; Linux keeps the same number for its own IPIs.
const EVENT_CHECK: u8 = 0xfc;

/// Builds a machine in which nothing has happened yet.
pub(crate) fn assemble(config: &MachineConfig) -> Result<Machine, ConfigError> {
    crate::consistency::check(config)?;
    let mut vcpu_of = BTreeMap::new();
    let vcpus = vcpus(config, &mut vcpu_of);
    let (events, connections) = Events::new(config)?;
    let messages = Messages::new(config)?;
    let irqs = config.sources.iter().filter(|source| source.vector.is_some()).count();
    let mut machine = Machine {
        costs: config.costs.clone(),
        cpus: vec![Cpu::new(); config.cpus as usize],
        vcpus,
        sources: Vec::with_capacity(config.sources.len()),
        irqs: Vec::with_capacity(irqs),
        events,
        slots: vec![Link::NONE; config.cpus as usize * 256],
        special: special(config)?,
        scheduler: Scheduler::new(&config.scheduler, config.cpus),
        arbiter: Arbiter::new(config, irqs)?,
        throttled: Vec::new(),
        senders: Vec::new(),
        posted: Vec::new(),
        apics: apics(config, &vcpu_of, special(config)?, &messages)?,
    };
    machine.give_apics();
    let mut irq_of = BTreeMap::new();
    for (index, source) in (0u32..).zip(&config.sources) {
        add_source(&mut machine, (config, &messages), SourceIndex(index), source, &vcpu_of, &mut irq_of)?;
    }
    for vcpu in &mut machine.vcpus {
        vcpu.vectors.sort_by_key(|(vector, _)| vector.number());
        vcpu.vectors.shrink_to_fit();
    }
    machine.irqs.shrink_to_fit();
    connect(&mut machine, connections);
    Ok(machine)
}

/// Tells sources their channels, and vCPUs where they take events.
fn connect(machine: &mut Machine, connections: Vec<Connection>) {
    for Connection { source, guest, channel } in connections {
        let source = &mut machine.sources[source.0 as usize];
        source.channel = channel;
        if let Some(vcpu) = source.vcpu.get() {
            let vcpu = &mut machine.vcpus[vcpu as usize];
            vcpu.events = Some(guest.vcpu(vcpu.name.vcpu));
        }
    }
}

fn special(config: &MachineConfig) -> Result<Special, ConfigError> {
    let event_check = Vector::new(EVENT_CHECK)
        .ok()
        .filter(|vector| config.layout.system().contains(*vector))
        .ok_or(ConfigError::NoVectorFor("the event-check IPI, FC"))?;
    let notification = config.layout.notification().highest();
    let wake_up = notification.and_then(|vector| config.layout.notification().below(vector).highest());
    let vectored = config.sources.iter().any(|source| source.path.guest_vector().is_some());
    if vectored && wake_up.is_none() {
        return Err(ConfigError::NoVectorFor("posted-interrupt notification and wake-up"));
    }
    Ok(Special { event_check, notification, wake_up })
}

fn vcpus(config: &MachineConfig, vcpu_of: &mut BTreeMap<(u16, u32), VcpuIndex>) -> Vec<Vcpu> {
    let named =
        config.domains.iter().flat_map(|domain| (0u32..).zip(&domain.vcpus).map(move |(n, vcpu)| (domain, n, vcpu)));
    (0u32..)
        .zip(named)
        .map(|(index, (domain, number, vcpu))| {
            vcpu_of.insert((domain.id.0, number), VcpuIndex(index));
            Vcpu {
                name: VcpuRef { domain: domain.id, vcpu: number },
                kind: domain.kind,
                side: if domain.owner.is_guest() { VcpuSide::Guest } else { VcpuSide::Dom0 },
                residency: Residency::Blocked,
                cpu: vcpu.start,
                behind: vcpu.start,
                wait_is_told: false,
                affinity: vcpu.affinity.intersection(&CpuSet::first_n(config.cpus)),
                burned: Span(0),
                activity: Activity::Load,
                left: Span(0),
                load: vcpu.load,
                load_left: Span(0),
                deferred: domain.deferred,
                deferred_left: Span(0),
                task_priority: TaskPriority::Low,
                events: None,
                is_in_upcall: false,
                apic: None,
                ledger: Ledger::EMPTY,
                commands: SourceQueue::EMPTY,
                vectors: Vec::new(),
            }
        })
        .collect()
}

fn add_source(
    machine: &mut Machine,
    (config, messages): (&MachineConfig, &Messages),
    index: SourceIndex,
    source: &SourceConfig,
    vcpu_of: &BTreeMap<(u16, u32), VcpuIndex>,
    irq_of: &mut BTreeMap<u32, u32>,
) -> Result<(), ConfigError> {
    let vcpu = source.path.handler().and_then(|to| vcpu_of.get(&(to.domain.0, to.vcpu)).copied());
    let (route, handler, guest_vector) = match source.path {
        Path::Hypervisor { handler, interruptible: true } => (Route::Interruptible, handler, None),
        Path::Hypervisor { handler, interruptible: false } => (Route::Uninterruptible, handler, None),
        Path::EventChannel { handler, .. } => (Route::EventChannel, handler, None),
        Path::Remapped { guest_vector, handler, .. } => (Route::Remapped, handler, Some(guest_vector)),
        Path::Posted { guest_vector, handler, .. } => (Route::Posted, handler, Some(guest_vector)),
        Path::Ipi { guest_vector, handler, .. } => (Route::Ipi, handler, Some(guest_vector)),
    };
    let mut entry = Source::new(route, handler, vcpu.map_or(Link::NONE, |vcpu| Link::to(vcpu.0)));
    entry.guest_vector = guest_vector;
    if let (Some(vcpu), Some(vector)) = (vcpu, guest_vector) {
        machine.vcpus[vcpu.index()].vectors.push((vector, index));
        if let Some(slot) = machine.vcpus[vcpu.index()].apic {
            let posted = messages.of(index).filter(|_| route == Route::Posted);
            machine.apics.route(slot, vector, posted.map_or_else(|| need(config, source), Need::Posting));
            machine.posted.extend(posted.map(|message| (index, message)));
        }
    }
    if let Path::Ipi { from, .. } = source.path
        && let Some(sender) = vcpu_of.get(&(from.domain.0, from.vcpu))
    {
        machine.senders.push((index, *sender));
    }
    machine.sources.push(entry);
    match (source.vector, irq_of.get(&source.id.0)) {
        (None, _) => Ok(()),
        (Some(_), Some(irq)) => {
            share(machine, *irq, index, source.owner);
            Ok(())
        }
        (Some(vector), None) => {
            let irq = add_irq(machine, (config, messages), index, source, vector)?;
            irq_of.insert(source.id.0, irq);
            Ok(())
        }
    }
}

/// The local APICs of the domains to whose vCPUs vectors come.
fn apics(
    config: &MachineConfig,
    vcpu_of: &BTreeMap<(u16, u32), VcpuIndex>,
    special: Special,
    messages: &Messages,
) -> Result<Apics, TooManyMessages> {
    let takes_vectors: BTreeSet<u16> = config
        .sources
        .iter()
        .filter(|source| source.path.guest_vector().is_some())
        .filter_map(|source| Some(source.path.handler()?.domain.0))
        .collect();
    let tenancy = |domain: &DomainConfig| {
        let vcpus = (0u32..).take(domain.vcpus.len()).filter_map(|vcpu| vcpu_of.get(&(domain.id.0, vcpu)).copied());
        Tenancy { engine: domain.engine, vcpus: vcpus.collect() }
    };
    let domains = config.domains.iter().filter(|domain| takes_vectors.contains(&domain.id.0));
    let domains: Vec<Tenancy> = domains.map(tenancy).collect();
    let around = Surroundings {
        vendor: config.vendor,
        cpus: config.cpus,
        // A layout without these vectors has no vCPU to which they matter.
        notification: special.notification.unwrap_or(special.event_check),
        wake_up: special.wake_up.unwrap_or(special.event_check),
    };
    Apics::new(&domains, around, messages)
}

/// What the vector of a source that is not posted needs at its vCPU.
fn need(config: &MachineConfig, source: &SourceConfig) -> Need {
    match (source.path, source.kind) {
        (Path::Ipi { .. }, _) => Need::Edge,
        (_, SourceKind::Level) => Need::Level,
        (_, kind) if kind.ack_type(config.ioapic_ack) != AckType::None => Need::EndOfEdge,
        _ => Need::Edge,
    }
}

/// Adds a source to a line that others are on already.
fn share(machine: &mut Machine, irq: u32, index: SourceIndex, owner: Owner) {
    let line = &mut machine.irqs[irq as usize];
    let first = line.first.0 as usize;
    if let (true, Side::Victim) = (owner.is_guest(), line.side) {
        line.side = Side::Culprit(index);
        let (cpu, vector) = (line.cpu, line.vector);
        for holder in machine.arbiter.holders(cpu).iter() {
            machine.set_slot(holder, vector, Link::to(irq));
        }
    }
    machine.sources[index.0 as usize].irq = Link::to(irq);
    machine.sources[index.0 as usize].sharer = machine.sources[first].sharer;
    machine.sources[first].sharer = Link::to(index.0);
}

fn add_irq(
    machine: &mut Machine,
    (config, messages): (&MachineConfig, &Messages),
    index: SourceIndex,
    source: &SourceConfig,
    vector: Vector,
) -> Result<u32, ConfigError> {
    let irq = u32::try_from(machine.irqs.len()).map_err(|_| ConfigError::TooMany("interrupts"))?;
    let followed = match machine.sources[index.0 as usize].vcpu.get() {
        Some(vcpu) => machine.vcpus[vcpu as usize].cpu,
        None => source.target,
    };
    machine.irqs.push(Irq {
        vector,
        cpu: source.target,
        message: messages.of(index),
        ack: source.kind.ack_type(config.ioapic_ack),
        trigger: match source.kind {
            SourceKind::Level => Trigger::Level(Pin::default()),
            _ => Trigger::Edge(Msi::default()),
        },
        masks: Masks::default(),
        first: index,
        side: match source.owner {
            Owner::System => Side::System,
            Owner::Dom0 => Side::Victim,
            Owner::Guest(_) => Side::Culprit(index),
        },
        in_flight: 0,
        service: Service::Idle,
        generation: 0,
        storm: StormGuard::default(),
        followed,
        old: None,
    });
    for cpu in machine.arbiter.holders(source.target).iter() {
        if let Some(other) = machine.slot(cpu, vector) {
            let first = config.sources[machine.irqs[other as usize].first.0 as usize].id.0;
            return Err(ConfigError::VectorTwice { first, second: source.id.0, vector, cpu });
        }
        machine.set_slot(cpu, vector, Link::to(irq));
    }
    machine
        .arbiter
        .adopt(source.owner, source.kind, source.target, vector)
        .map_err(|fault| ConfigError::NotToBeHad { source_id: source.id.0, fault })?;
    machine.irqs[irq as usize].write_entry(&machine.apics);
    machine.sources[index.0 as usize].irq = Link::to(irq);
    Ok(irq)
}

impl Cpu {
    /// Whether dom0's vectors and the waiting ones have a member in common.
    pub(crate) const fn waiting_dom0(&self) -> VectorSet {
        self.lapic.waiting().intersection(&self.dom0)
    }
}

impl Machine {
    /// Tells vCPUs which virtual local APIC is theirs. They sleep in the beginning, as after a run on the CPU they start on.
    fn give_apics(&mut self) {
        for (slot, vcpu) in self.apics.slots() {
            let vcpu = &mut self.vcpus[vcpu.index()];
            vcpu.apic = Some(slot);
            self.apics.load(slot, vcpu.cpu);
            let blocked = self.apics.block(slot, vcpu.cpu);
            debug_assert_eq!(blocked, Blocking::Done, "nothing has come yet");
        }
    }

    pub(crate) fn vcpu_indices(&self) -> impl Iterator<Item = VcpuIndex> + use<> {
        (0u32..).take(self.vcpus.len()).map(VcpuIndex)
    }

    pub(crate) fn cpu_ids(&self) -> impl Iterator<Item = CpuId> + use<> {
        (0u32..).take(self.cpus.len()).map(CpuId)
    }
}
