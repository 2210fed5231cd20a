//! The machine: its tables, and what may be asked of it.

use alloc::vec::Vec;

use hypervisor_lib::delivery::avic::IrteIndex;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::ConfigError;
use crate::Costs;
use crate::Fact;
use crate::Host;
use crate::MachineConfig;
use crate::SourceIndex;
use crate::Span;
use crate::Time;
use crate::Timer;
use crate::apic::Apics;
use crate::delivery::Agent;
use crate::events::EventDomain;
use crate::events::Events;
use crate::irq::Irq;
use crate::out::Out;
use crate::pcpu::Cpu;
use crate::relocate::Arbiter;
use crate::sched::Scheduler;
use crate::source::Link;
use crate::source::Route;
use crate::source::Source;
use crate::timer::Alarm;
use crate::timer::Ipi;
use crate::trigger::Signal;
use crate::trigger::Trigger;
use crate::vcpu::Vcpu;
use crate::vcpu::VcpuIndex;

/// The machine. It moves only when it is called, and reaches out only through [`Host`].
///
/// Sources and timers that it does not know are ignored.
#[derive(Debug)]
pub struct Machine {
    pub(crate) costs: Costs,
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) vcpus: Vec<Vcpu>,
    pub(crate) sources: Vec<Source>,
    pub(crate) irqs: Vec<Irq>,
    pub(crate) events: Events,
    pub(crate) apics: Apics,
    /// Who sends each inter-processor interrupt, by source.
    pub(crate) senders: Vec<(SourceIndex, VcpuIndex)>,
    /// The IOMMU's entry of each posted source, by source.
    pub(crate) posted: Vec<(SourceIndex, IrteIndex)>,
    /// The interrupt behind each vector of each CPU, 256 to a CPU (Xen: `vector_irq`).
    pub(crate) slots: Vec<Link>,
    pub(crate) special: Special,
    pub(crate) scheduler: Scheduler,
    pub(crate) arbiter: Arbiter,
    /// The interrupts that the storm guard has disabled (Xen: `irq_ratelimit_list`).
    pub(crate) throttled: Vec<u32>,
}

/// Vectors the machine itself uses, the same on every CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Special {
    pub(crate) event_check: Vector,
    /// Posted-interrupt notification; none where the layout has no notification vectors.
    pub(crate) notification: Option<Vector>,
    pub(crate) wake_up: Option<Vector>,
}

impl Machine {
    /// Builds a machine in which nothing has happened yet.
    ///
    /// # Errors
    /// [`ConfigError`] names what contradicts itself, and where.
    pub fn new(config: &MachineConfig) -> Result<Self, ConfigError> {
        crate::assembly::assemble(config)
    }

    /// Starts the vCPUs' loads. Call it once, before anything else.
    pub fn start(&mut self, now: Time, host: &mut impl Host) {
        let out = &mut Out::new(now, host);
        for vcpu in self.vcpu_indices() {
            self.begin_load(vcpu, out);
        }
    }

    /// A device raises its interrupt: an edge sends a message, a level asserts its line, which falls when the owner's
    /// handler has run.
    pub fn raise(&mut self, now: Time, source: SourceIndex, host: &mut impl Host) {
        let Some(entry) = self.sources.get_mut(source.0 as usize) else {
            return;
        };
        let out = &mut Out::new(now, host);
        out.observe(Fact::Raised { source });
        let Some(irq) = entry.irq.get() else {
            return match entry.route {
                Route::Ipi => self.command(source, out),
                _ => self.deliver(Agent::Device, source, out),
            };
        };
        let signal = match &mut self.irqs[irq as usize].trigger {
            Trigger::Edge(msi) => msi.fire(),
            Trigger::Level(_) if entry.is_asserting => Signal::Merge,
            Trigger::Level(pin) => {
                entry.is_asserting = true;
                pin.assert()
            }
        };
        match signal {
            Signal::Send => self.send(irq, out),
            Signal::Merge => out.observe(Fact::Coalesced { source }),
            Signal::Hold | Signal::Quiet => {}
        }
    }

    /// A timer that the machine had [`schedule`](Host::schedule)d is due.
    pub fn expire(&mut self, now: Time, timer: Timer, host: &mut impl Host) {
        let out = &mut Out::new(now, host);
        match timer.0 {
            Alarm::Step { cpu, generation } => self.step(CpuId(cpu), generation, out),
            Alarm::Ipi { cpu, ipi } => self.arrive(CpuId(cpu), ipi, out),
            Alarm::ForcedEoi { irq, generation } => self.force_eoi(irq, generation, out),
            Alarm::RemoteEoi { irq, generation } => self.remote_eoi(irq, generation, out),
            Alarm::Resend { irq } => self.resend(irq, out),
            Alarm::Unthrottle => self.unthrottle(out),
            Alarm::Slice { cpu, generation } => self.slice_over(CpuId(cpu), generation, out),
            Alarm::DelayedEoi { source } => self.end_delayed(SourceIndex(source), out),
            Alarm::LoadWake { vcpu } => self.load_wakes(VcpuIndex(vcpu), out),
        }
    }

    /// How many sources there are.
    #[must_use]
    pub const fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Where a source's interrupt goes now, and under which vector; none for one without a host vector.
    #[must_use]
    pub fn placement(&self, source: SourceIndex) -> Option<(CpuId, Vector)> {
        let irq = &self.irqs[self.sources.get(source.0 as usize)?.irq.get()? as usize];
        Some((irq.cpu, irq.vector))
    }

    /// For how long CPUs have worked for the hypervisor instead of a guest, in all: what it does itself, and the ways out of
    /// guests and back into them. What has begun and has not ended is not in it.
    #[must_use]
    pub fn host_time(&self) -> Span {
        Span(self.cpus.iter().fold(0, |all, cpu| all.saturating_add(cpu.host_time.0)))
    }

    /// What each domain's events came to so far; domains without event channels are not there.
    pub fn event_domains(&self) -> impl Iterator<Item = EventDomain> + '_ {
        self.events.domains()
    }

    /// The interrupt that holds `vector` on `cpu`.
    pub(crate) fn slot(&self, cpu: CpuId, vector: Vector) -> Option<u32> {
        self.slots[cpu.index() * 256 + vector.index()].get()
    }

    pub(crate) fn set_slot(&mut self, cpu: CpuId, vector: Vector, irq: Link) {
        self.slots[cpu.index() * 256 + vector.index()] = irq;
        let is_dom0 = irq.get().is_some_and(|irq| self.irqs[irq as usize].side == crate::irq::Side::Victim);
        match is_dom0 {
            true => self.cpus[cpu.index()].dom0.insert(vector),
            false => self.cpus[cpu.index()].dom0.remove(vector),
        };
    }

    fn arrive<H: Host>(&mut self, cpu: CpuId, ipi: Ipi, out: &mut Out<'_, H>) {
        if !self.cpus[cpu.index()].is_online {
            return;
        }
        let vector = match ipi {
            Ipi::EventCheck => Some(self.special.event_check),
            Ipi::Notification => self.special.notification,
            Ipi::WakeUp => self.special.wake_up,
            Ipi::Doorbell => None,
        };
        match vector {
            Some(vector) => {
                self.cpus[cpu.index()].lapic.accept(vector);
            }
            None => self.ring_doorbell(cpu),
        }
        self.settle(cpu, out);
    }
}
