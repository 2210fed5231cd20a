//! Virtual local APICs: the library's engines, on models of the processors they are for.
//!
//! ```text
//!   MSI, IPI ──► bus, descriptor, page ──────────────► engine (hypervisor-lib) ──settings, page──► processor (vmx, svm)
//!                   │                                      ▲        ▲                                │
//!                   └─ requests: kick, notification,       │        └───────────── exits ◄───────────┤
//!                      doorbell, wake ──► machine ─────────┘ residency: load, preempt, block         └► delivered
//! ```
//!
//! What is the hypervisor's to decide, the library decides: what a sender has to do, what an entry needs, what an exit leaves
//! to do, whether a vCPU may sleep. What is the processor's, the models of it do. The machine carries the requests between
//! CPUs, and says what it all takes.

mod assembly;
mod check;
mod hypervisor;
mod iommu;
mod ledger;
mod page;
mod processor;
mod residency;

use alloc::vec::Vec;

use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Host as _;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::avic::GaLog;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::engine::Event as Injected;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Gates;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::posted;
use self_cell::self_cell;
use vector_allocator::CpuId;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

pub(crate) use self::assembly::Need;
pub(crate) use self::assembly::Surroundings;
pub(crate) use self::assembly::Tenancy;
use self::hypervisor::Hypervisor;
pub(crate) use self::hypervisor::Request;
pub(crate) use self::iommu::Meaning;
pub(crate) use self::iommu::Messages;
pub use self::iommu::TooManyMessages;
pub(crate) use self::ledger::Entry;
pub(crate) use self::ledger::Ledger;
pub(crate) use self::processor::Event;
use self::processor::Processor;
use self::processor::Written;
pub(crate) use self::residency::Blocking;
use self::residency::Resident;
use self::residency::Residents;
use crate::ExitCause;
use crate::InterruptFlag;
use crate::Signal;
use crate::Time;
use crate::lapic::Lapic;
use crate::vcpu::Residency;
use crate::vcpu::VcpuIndex;

/// A virtual local APIC's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApicSlot(pub(crate) u32);

impl ApicSlot {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All virtual local APICs of a machine.
#[derive(Debug)]
pub(crate) struct Apics {
    hall: Hall,
    vcpus: Vec<VirtualApic>,
}

self_cell!(
    /// The hypervisor, and what refers to it.
    struct Hall {
        owner: Hypervisor,
        #[not_covariant]
        dependent: Referrers,
    }

    impl { Debug }
);

/// What refers to the hypervisor's memory.
#[derive(Debug)]
struct Referrers<'h> {
    /// The states of the vCPUs' residency.
    residents: Residents<'h>,
    /// The reader of the IOMMU's log, if it has one.
    log: Option<GaLog<'h>>,
}

/// One virtual local APIC.
#[derive(Debug)]
struct VirtualApic {
    /// Whose.
    vcpu: VcpuIndex,
    apic: VcpuApic,
    processor: Processor,
    /// What the entry injects.
    injected: Option<Vector>,
    /// What the hypervisor has to do after an exit.
    unfinished: Option<Unfinished>,
    /// The vectors of level-triggered sources.
    level: VectorSet,
}

/// What an exit has left to do.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    register: ApicRegister,
    value: u64,
    written: Written,
}

/// How a vector gets to a vCPU: who sets the bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// A message on the domain's bus, sent by the hypervisor.
    Bus(TriggerMode),
    /// The IOMMU.
    Iommu(IrteIndex),
}

/// Where a vector then waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it will be taken from.
    Staged,
    /// In the IRR.
    Requested,
}

impl Apics {
    fn with<R>(&mut self, slot: ApicSlot, act: impl FnOnce(&mut VirtualApic, &Hypervisor) -> R) -> R {
        act(&mut self.vcpus[slot.index()], self.hall.borrow_owner())
    }

    /// Every slot, and whose it is.
    pub(crate) fn slots(&self) -> Vec<(ApicSlot, VcpuIndex)> {
        (0u32..).zip(&self.vcpus).map(|(slot, vcpu)| (ApicSlot(slot), vcpu.vcpu)).collect()
    }

    /// Whose it is.
    pub(crate) fn vcpu(&self, slot: ApicSlot) -> VcpuIndex {
        self.vcpus[slot.index()].vcpu
    }

    /// The next thing that an engine has asked for.
    pub(crate) fn request(&self) -> Option<Request> {
        self.hall.borrow_owner().requests.borrow_mut().pop_front()
    }

    /// Whether a vector that comes now waits in the IRR itself.
    pub(crate) fn place(&self, slot: ApicSlot) -> Place {
        let view = self.hall.borrow_owner().view(slot);
        if view.household.physical_table().is_some() { Place::Requested } else { Place::Staged }
    }

    /// The vectors of a vCPU that a notification does not bring: PIR does not say how a vector is triggered.
    pub(crate) fn level(&self, slot: ApicSlot) -> &VectorSet {
        &self.vcpus[slot.index()].level
    }

    /// A vector comes for a vCPU.
    pub(crate) fn post(&mut self, slot: ApicSlot, vector: Vector, means: Means) {
        let hypervisor = self.hall.borrow_owner();
        let view = hypervisor.view(slot);
        let number = slot.0 - view.household.first;
        match means {
            Means::Bus(trigger) => {
                let destination = Destination::Physical(number);
                let message = Message { destination, delivery: DeliveryMode::Fixed, vector: vector.number(), trigger };
                view.bus().send(&message, &view);
            }
            Means::Iommu(message) => hypervisor.receive(message, &mut |signal| hypervisor.carry(signal)),
        }
    }

    /// A device's message goes through the IOMMU to the host: under which vector to which CPU, unless it is blocked.
    pub(crate) fn remap(&self, message: IrteIndex) -> Option<(CpuId, Vector)> {
        let mut arrived = None;
        self.hall.borrow_owner().receive(message, &mut |signal| {
            if let Signal::Interrupt(message) = signal {
                arrived = Vector::new(message.vector).ok().map(|vector| (CpuId(message.destination), vector));
            }
        });
        arrived
    }

    /// Has the IOMMU's entry of a message say what becomes of it.
    pub(crate) fn program(&self, message: IrteIndex, meaning: Meaning) {
        self.hall.borrow_owner().iommu.write(message, meaning);
    }

    /// The vCPU is entered: what was left for it is taken in, and the processor told.
    pub(crate) fn enter(&mut self, slot: ApicSlot, flag: InterruptFlag, now: Time) {
        self.with(slot, |vcpu, hypervisor| {
            let view = hypervisor.view(slot);
            let event = vcpu.apic.enter(gates(flag), moment(now), &view);
            for setting in hypervisor.settings.borrow_mut().drain(..) {
                vcpu.processor.set(setting);
            }
            vcpu.processor.enter();
            vcpu.injected = match event {
                Some(Injected::Vector(vector)) => Some(vector),
                // Nobody in the machine sends the others.
                Some(Injected::Nmi | Injected::External(_)) | None => None,
            };
        });
    }

    /// The guest was left.
    pub(crate) fn exited(&mut self, slot: ApicSlot) {
        self.with(slot, |vcpu, hypervisor| {
            let broken_off = vcpu.injected.take().map(Injected::Vector);
            vcpu.apic.exited(broken_off, &hypervisor.view(slot));
        });
    }

    /// One boundary in guest mode.
    pub(crate) fn boundary(&mut self, slot: ApicSlot, flag: InterruptFlag, lapic: &mut Lapic) -> Event {
        self.with(slot, |vcpu, hypervisor| {
            // An injected event is part of the entry: nothing comes before it (SDM vol. 3C, 27.6; APM vol. 2, 15.20).
            if let Some(vector) = vcpu.injected.take() {
                return Event::Delivered(vector);
            }
            let descriptor = &hypervisor.seats[slot.index()].posted.descriptor;
            vcpu.processor.boundary(flag, lapic, descriptor)
        })
    }

    /// AVIC's doorbell rings in guest mode.
    pub(crate) fn hear_doorbell(&mut self, slot: ApicSlot) {
        self.with(slot, |vcpu, _| {
            vcpu.processor.hear_doorbell();
        });
    }

    /// The guest ends its interrupt. Why it is left, if it is; then [`finish`](Self::finish) is to be called.
    pub(crate) fn end(&mut self, slot: ApicSlot) -> Option<ExitCause> {
        self.write(slot, ApicRegister::Eoi, 0)
    }

    /// The guest sets the class of its task priority. Why it is left, if it is; then [`finish`](Self::finish) is to be called.
    pub(crate) fn set_task_priority(&mut self, slot: ApicSlot, class: u8) -> Option<ExitCause> {
        self.write(slot, ApicRegister::TaskPriority, u64::from(class) << 4)
    }

    /// The guest sends a vector to a vCPU of its domain. Why it is left, if it is; then [`finish`](Self::finish) is to be
    /// called.
    pub(crate) fn send(&mut self, slot: ApicSlot, to: ApicSlot, vector: Vector) -> Option<ExitCause> {
        let first = self.hall.borrow_owner().view(slot).household.first;
        let icr = Icr::new().with_vector(vector.number()).with_destination(to.0 - first);
        self.write(slot, ApicRegister::IcrLow, icr.into())
    }

    fn write(&mut self, slot: ApicSlot, register: ApicRegister, value: u64) -> Option<ExitCause> {
        self.with(slot, |vcpu, hypervisor| {
            let mut interconnect = |signal| hypervisor.carry(signal);
            let written = vcpu.processor.write(register, value, hypervisor.view(slot), &mut interconnect);
            vcpu.unfinished = (written != Written::Done).then_some(Unfinished { register, value, written });
            written.cause()
        })
    }

    /// Does what the last write has left to the hypervisor, if anything.
    pub(crate) fn finish(&mut self, slot: ApicSlot, now: Time) {
        self.with(slot, |vcpu, hypervisor| {
            let view = hypervisor.view(slot);
            let Some(Unfinished { register, value, written }) = vcpu.unfinished.take() else { return };
            match written {
                Written::Done => {}
                // What the machine's guests write is legal.
                Written::Emulate => _ = vcpu.apic.write_msr(moment(now), register.msr(), value, &view),
                Written::Finish(exit) => {
                    let finished = vcpu.apic.finish(exit, moment(now), &view);
                    debug_assert!(finished.is_ok(), "{finished:?}");
                }
            }
        });
    }

    /// Whether a guest that halts has something to wake up for. What was left for it is taken in.
    pub(crate) fn wakes(&mut self, slot: ApicSlot, flag: InterruptFlag) -> bool {
        self.with(slot, |vcpu, hypervisor| vcpu.apic.wakes(gates(flag), &hypervisor.view(slot)))
    }

    /// The vCPU gets a CPU.
    pub(crate) fn load(&mut self, slot: ApicSlot, cpu: CpuId) {
        self.hall.with_dependent_mut(|hypervisor, own| own.residents[slot.index()].load(slot, cpu, hypervisor));
    }

    /// Another gets its CPU.
    pub(crate) fn preempt(&mut self, slot: ApicSlot) {
        self.hall.with_dependent_mut(|hypervisor, own| own.residents[slot.index()].preempt(slot, hypervisor));
    }

    /// The vCPU has nothing to do.
    pub(crate) fn block(&mut self, slot: ApicSlot, cpu: CpuId) -> Blocking {
        self.hall.with_dependent_mut(|hypervisor, own| own.residents[slot.index()].block(slot, cpu, hypervisor))
    }

    /// The handler of the wake-up vector, which is the log's too: the vCPUs that wake are requests afterwards.
    pub(crate) fn wake_up(&mut self, cpu: CpuId) {
        if self.vcpus.is_empty() {
            return;
        }
        posted::wake_up(self.hall.borrow_owner(), cpu);
        self.hall.with_dependent_mut(|hypervisor, own| {
            if let Some(log) = &mut own.log {
                hypervisor.hear_log(log, &own.residents);
            }
        });
    }

    /// A CPU goes: what is blocked on its list goes to another's, and so does the log's interrupt.
    pub(crate) fn relocate(&mut self, from: CpuId, to: CpuId) {
        self.hall.borrow_owner().iommu.move_log(from, to);
        if !self.vcpus.is_empty() {
            posted::relocate(self.hall.borrow_owner(), from, to);
        }
    }

    /// Whether the IOMMU has logged a vCPU, and nobody has read that yet.
    pub(crate) fn is_logged(&self, slot: ApicSlot) -> bool {
        let hypervisor = self.hall.borrow_owner();
        hypervisor.tag(slot).is_some_and(|tag| hypervisor.iommu.will_tell(tag))
    }

    /// Whether whoever posted to a vCPU has sent a notification that it has not heard.
    pub(crate) fn is_notified(&self, slot: ApicSlot) -> bool {
        self.hall.borrow_owner().is_notified(slot)
    }

    /// Whether hardware is told where the vCPU is.
    pub(crate) fn is_told(&self, slot: ApicSlot, residency: Residency, cpu: CpuId) -> bool {
        let says = |low: GuestIrteLow| match residency {
            Residency::Running => low.is_running() && low.destination() == cpu.0,
            // One that has been woken and has not run yet is told of as if it slept.
            Residency::Runnable => !low.is_running(),
            Residency::Blocked => !low.is_running() && low.logs(),
        };
        self.hall.borrow_owner().is_told(slot, residency, cpu)
            && self.hall.with_dependent(|hypervisor, own| match &own.residents[slot.index()] {
                Resident::Avic(vcpu) => vcpu.routes().all(|message| hypervisor.iommu.low(message).is_some_and(says)),
                Resident::Untold | Resident::Posted(_) => true,
            })
    }

    /// Whether the engine holds exactly what the ledger says.
    pub(crate) fn agrees(&self, slot: ApicSlot, ledger: &Ledger) -> bool {
        self.hall.borrow_owner().agrees(slot, ledger, self.level(slot))
    }
}

const fn gates(flag: InterruptFlag) -> Gates {
    let interrupts = match flag {
        InterruptFlag::Set => Gate::Open,
        InterruptFlag::Clear => Gate::Closed,
    };
    Gates { interrupts, nmis: Gate::Open }
}

/// The guests' clocks are the machine's, at a gigahertz.
const fn moment(now: Time) -> Moment {
    Moment { bus: now.0, tsc: now.0 }
}
