//! A Xen to try the command on: the recorded host, whose vectors change by `_assign_irq_vector`'s rule and whose knobs can fail.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use carillon_sim::import::Binding;
use carillon_sim::import::BootLog;
use carillon_sim::import::IrqStatus;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::Recorded;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::Vector;

use super::toolstack::Fired;
use super::toolstack::Knob;
use super::toolstack::Toolstack;
use crate::failure::Failure;

/// Dom0's disk and the guest's card, which fire, by Xen's numbers.
pub(crate) const DISK: u32 = 25;
pub(crate) const CARD: u32 = 26;
/// The guest's only domain.
pub(crate) const GUEST: DomainId = DomainId(1);
/// Dom0's number of its disk's interrupt.
const DISK_IN_DOM0: u32 = 54;

/// How vectors are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// One pCPU each; a move draws.
    Physical,
    /// Taken on all pCPUs, and kept.
    Logical,
}

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The request of this number fails: looks, settings and changes are counted together.
    Request(u32),
    /// The change of this number is taken and not done.
    Ignored(u32),
    /// Every request from this one on fails but those that put back: settings and changes. Looks fail.
    Blind(u32),
}

/// Where each vCPU may run, who handles each of dom0's interrupts by port, and who may by number.
pub(crate) type Knobs = (Vec<(DomainId, u32, CpuSet)>, Vec<(u32, u32)>, BTreeMap<u32, CpuSet>);

/// The host.
#[derive(Clone, Debug)]
pub(crate) struct FakeHost {
    pub(crate) host: HostSnapshot,
    addressing: Addressing,
    /// `current_vector` and `current_offset`.
    cursor: (u8, u8),
    /// Who may handle dom0's interrupts, by dom0's number; all of its CPUs where it is not said.
    masks: BTreeMap<u32, CpuSet>,
    /// Where interrupts go when they come next, by Xen's number.
    waiting: BTreeMap<u32, CpuId>,
    pub(crate) firing: BTreeMap<u32, u64>,
    /// How many vectors somebody else draws with each change.
    pub(crate) rival: u32,
    pub(crate) fault: Fault,
    pub(crate) requests: u32,
    pub(crate) changes: u32,
    pub(crate) reattached: u32,
    pub(crate) pauses: u32,
}

impl FakeHost {
    /// The recorded host with every vCPU where it ran last, free to go anywhere.
    pub(crate) fn new(addressing: Addressing) -> Self {
        let mut host = HostSnapshot::recorded(Recorded::SasNic).expect("a recording");
        let driver = if addressing == Addressing::Physical { "bigsmp" } else { "default" };
        host.boot_log = Some(BootLog { apic_driver: Some(driver.to_owned()), ..BootLog::default() });
        if addressing == Addressing::Physical {
            for irq in &mut host.irqs.irqs {
                irq.holders = CpuSet::single(irq.target().first().expect("a CPU"));
                irq.affinity = irq.holders.clone();
            }
        }
        Self {
            host,
            addressing,
            // The last vector that was given out when it was recorded is IRQ 28's.
            cursor: (0xe8, 0),
            masks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            firing: BTreeMap::from([(DISK, 500), (CARD, 900)]),
            rival: 0,
            fault: Fault::None,
            requests: 0,
            changes: 0,
            reattached: 0,
            pauses: 0,
        }
    }

    /// Dom0's vCPUs are pinned to a pCPU each, the guest's to the first, where the disk's interrupt goes too, and the card outranks it.
    pub(crate) fn inverted(addressing: Addressing) -> Self {
        let mut fake = Self::new(addressing);
        for vcpu in 0..4 {
            fake.put(DomainId::DOM0, vcpu, &CpuSet::single(CpuId(vcpu)));
        }
        fake.put(GUEST, 0, &CpuSet::single(CpuId(0)));
        // As they were given when the host was set up, with nothing in between.
        let places: Vec<(u32, CpuId)> = std::mem::take(&mut fake.waiting).into_iter().collect();
        for (irq, cpu) in places {
            fake.arrive(irq, cpu, None);
        }
        assert!(fake.vector(CARD).outranks(fake.vector(DISK)));
        fake
    }

    /// The vector of an interrupt.
    pub(crate) fn vector(&self, irq: u32) -> Vector {
        self.host.irq(irq).expect("an IRQ").vector.expect("a vector")
    }

    /// Another vCPU of dom0's handles an interrupt, which has come there since.
    pub(crate) fn hand_over(&mut self, irq: u32, vcpu: u32) {
        let dumped = self.host.events.iter_mut().flat_map(|dump| &mut dump.domains);
        let ports = dumped.filter(|one| one.domain == DomainId::DOM0).flat_map(|one| &mut one.ports);
        for line in ports {
            if matches!(line.binding, Binding::Pirq { irq: bound, .. } if bound == irq.cast_signed()) {
                line.vcpu = vcpu;
            }
        }
        let cpu = self.host.vcpus(DomainId::DOM0)[vcpu as usize].cpu.expect("a CPU");
        self.arrive(irq, cpu, None);
    }

    /// How every knob is set: where each vCPU may run, who handles each of dom0's interrupts, and who may.
    pub(crate) fn knobs(&self) -> Knobs {
        let domains = self.host.domains.iter().flat_map(|dump| &dump.domains);
        let vcpus = domains
            .flat_map(|domain| domain.vcpus.iter().map(|vcpu| (domain.id, vcpu.vcpu, vcpu.hard_affinity.clone())));
        let ports = self.host.events.as_ref().and_then(|dump| dump.domain(DomainId::DOM0)).expect("dom0's ports");
        let bound = ports.ports.iter().filter(|line| matches!(line.binding, Binding::Pirq { .. }));
        // Who may handle it is all there was to choose from, or who handled it before.
        let masks = self.masks.iter().filter(|(_, mask)| mask.len() > 1).map(|(number, mask)| (*number, mask.clone()));
        (vcpus.collect(), bound.map(|line| (line.port, line.vcpu)).collect(), masks.collect())
    }

    /// Counts a request, and lets it fail if it is its turn.
    fn request(&mut self, is_look: bool) -> Result<(), Failure> {
        let number = self.requests;
        self.requests += 1;
        match self.fault {
            Fault::Request(faulty) if faulty == number => Err(Failure::new("it failed as it was asked to")),
            Fault::Blind(first) if is_look && number >= first => Err(Failure::new("nothing can be seen")),
            _ => Ok(()),
        }
    }

    /// Lets a vCPU run on these CPUs alone. If it must go elsewhere so do its interrupts, when they come next.
    fn put(&mut self, domain: DomainId, number: u32, cpus: &CpuSet) {
        let dumped = self.host.domains.iter_mut().flat_map(|dump| &mut dump.domains);
        let vcpu = dumped.filter(|one| one.id == domain).flat_map(|one| &mut one.vcpus).find(|one| one.vcpu == number);
        let vcpu = vcpu.expect("a vCPU");
        vcpu.hard_affinity = cpus.clone();
        if !cpus.contains(vcpu.cpu) {
            vcpu.cpu = cpus.first().expect("a CPU");
        }
        let cpu = vcpu.cpu;
        for irq in self.handled_by(domain, number) {
            self.waiting.insert(irq, cpu);
        }
    }

    /// The interrupts whose event channels are bound to a vCPU.
    fn handled_by(&self, domain: DomainId, number: u32) -> Vec<u32> {
        let ports = self.host.events.as_ref().and_then(|dump| dump.domain(domain)).expect("ports");
        let bound = ports.ports.iter().filter(|line| line.vcpu == number);
        let irqs = bound.filter_map(|line| match line.binding {
            Binding::Pirq { irq, .. } => u32::try_from(irq).ok(),
            _ => None,
        });
        irqs.collect()
    }

    /// What waits comes, if it fires.
    fn fire(&mut self) {
        let firing: BTreeSet<u32> = self.firing.keys().copied().collect();
        let coming: Vec<(u32, CpuId)> =
            self.waiting.iter().filter(|(irq, _)| firing.contains(irq)).map(|(irq, cpu)| (*irq, *cpu)).collect();
        for (irq, cpu) in coming {
            self.waiting.remove(&irq);
            let kept = self.host.irq(irq).expect("an IRQ").holders.contains(cpu);
            let vector = if kept { None } else { self.assign(cpu) };
            self.arrive(irq, cpu, vector);
        }
        for irq in &mut self.host.irqs.irqs {
            let pending = if self.waiting.contains_key(&irq.irq) { 0x20 } else { 0 };
            irq.status = IrqStatus(irq.status.0 & !0x20 | pending);
        }
    }

    fn arrive(&mut self, irq: u32, cpu: CpuId, vector: Option<Vector>) {
        let line = self.host.irqs.irqs.iter_mut().find(|line| line.irq == irq).expect("an IRQ");
        line.affinity = CpuSet::single(cpu);
        line.vector = vector.or(line.vector);
        if self.addressing == Addressing::Physical {
            line.holders = CpuSet::single(cpu);
        }
    }

    /// `_assign_irq_vector`: the next vector of the cursor that is free there; none if it comes back to where it began.
    fn assign(&mut self, cpu: CpuId) -> Option<Vector> {
        let host = self.host.assignment();
        let (begin, mut offset) = self.cursor;
        let mut number = u16::from(begin);
        loop {
            number += 8;
            if number > 0xef {
                offset = (offset + 1) % 8;
                number = u16::from(0x20 + offset);
            }
            if number == u16::from(begin) {
                return None;
            }
            let vector = Vector::try_from(u8::try_from(number).expect("a byte")).expect("a vector");
            let is_taken = host.sources.iter().any(|one| one.vector == vector && one.holders.contains(cpu));
            if host.layout.leasable(cpu).contains(vector) && !is_taken {
                self.cursor = (vector.number(), offset);
                return Some(vector);
            }
        }
    }
}

impl Toolstack for FakeHost {
    fn look(&mut self) -> Result<HostSnapshot, Failure> {
        self.request(true)?;
        self.fire();
        Ok(self.host.clone())
    }

    fn listen(&mut self) -> Result<Fired, Failure> {
        Ok(Fired::Counted(self.firing.clone()))
    }

    fn setting(&mut self, knob: Knob) -> Result<CpuSet, Failure> {
        self.request(false)?;
        Ok(match knob {
            Knob::Vcpu { domain, vcpu } => {
                let dumped = self.host.domains.as_ref().and_then(|dump| dump.domain(domain)).expect("a domain");
                dumped.vcpus.iter().find(|one| one.vcpu == vcpu).expect("a vCPU").hard_affinity.clone()
            }
            Knob::Interrupt { number } => self.masks.get(&number).cloned().unwrap_or_else(|| CpuSet::first_n(4)),
        })
    }

    fn set(&mut self, knob: Knob, to: &CpuSet) -> Result<(), Failure> {
        self.request(false)?;
        let number = self.changes;
        self.changes += 1;
        if self.fault == Fault::Ignored(number) {
            return Ok(());
        }
        for _ in 0..self.rival {
            self.assign(CpuId(1));
        }
        match knob {
            Knob::Vcpu { domain, vcpu } => self.put(domain, vcpu, to),
            Knob::Interrupt { number } => {
                assert_eq!(number, DISK_IN_DOM0, "only the disk's interrupt can be moved by itself");
                self.masks.insert(number, to.clone());
                let handler = to.first().expect("a CPU").0;
                let dumped = self.host.events.iter_mut().flat_map(|dump| &mut dump.domains);
                let ports = dumped.filter(|one| one.domain == DomainId::DOM0).flat_map(|one| &mut one.ports);
                for line in ports {
                    if matches!(line.binding, Binding::Pirq { irq, .. } if irq == DISK.cast_signed()) {
                        line.vcpu = handler;
                    }
                }
                let cpu = self.host.vcpus(DomainId::DOM0)[handler as usize].cpu.expect("a CPU");
                self.waiting.insert(DISK, cpu);
            }
        }
        Ok(())
    }

    fn reattach(&mut self, guest: DomainId, function: &str) -> Result<(), Failure> {
        self.request(false)?;
        assert_eq!((guest, function), (GUEST, "0000:00:04.0"));
        self.reattached += 1;
        for irq in self.handled_by(GUEST, 0) {
            let cpu = self.host.irq(irq).expect("an IRQ").target().first().expect("a CPU");
            let vector = self.assign(cpu);
            self.arrive(irq, cpu, vector);
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.pauses += 1;
    }
}

/// How a host is addressed, to the arbiter.
pub(crate) fn is_physical(fake: &FakeHost) -> bool {
    fake.host.destination_model().value == DestinationModel::Physical
}
