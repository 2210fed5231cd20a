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

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Host as _;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::Moment;
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
pub(crate) use self::ledger::Entry;
pub(crate) use self::ledger::Ledger;
pub(crate) use self::processor::Event;
use self::processor::Processor;
use self::processor::Written;
pub(crate) use self::residency::Blocking;
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
    /// The hypervisor, and the states of the vCPUs' residency, which refer to it.
    struct Hall {
        owner: Hypervisor,
        #[not_covariant]
        dependent: Residents,
    }

    impl { Debug }
);

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
            Means::Iommu(index) => match (view.page(VcpuId(number)), view.irte(index)) {
                (Some(page), Some(entry)) => hypervisor.post_to_page(slot, vector, page, entry),
                _ => {
                    let descriptor = &hypervisor.seats[slot.index()].posted.descriptor;
                    if let Some(notice) = posted::post(descriptor, vector, posted::Urgency::Ordinary) {
                        let cpu = CpuId(notice.destination.into_bits());
                        hypervisor.requests.borrow_mut().push_back(Request::Notify { vector: notice.vector, cpu });
                    }
                }
            },
        }
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

    /// The guest sends a vector to a vCPU of its domain. Why it is left, if it is; then [`finish`](Self::finish) is to be
    /// called.
    pub(crate) fn send(&mut self, slot: ApicSlot, to: ApicSlot, vector: Vector) -> Option<ExitCause> {
        let first = self.hall.borrow_owner().view(slot).household.first;
        let icr = Icr::new().with_vector(vector.number()).with_destination(to.0 - first);
        self.write(slot, ApicRegister::IcrLow, icr.into())
    }

    fn write(&mut self, slot: ApicSlot, register: ApicRegister, value: u64) -> Option<ExitCause> {
        self.with(slot, |vcpu, hypervisor| {
            let mut interconnect = |signal| {
                let request = match signal {
                    Signal::Interrupt(message) => {
                        Request::Notify { vector: message.vector, cpu: CpuId(message.destination) }
                    }
                    Signal::Doorbell(id) => Request::Doorbell(CpuId(id.0)),
                };
                hypervisor.requests.borrow_mut().push_back(request);
            };
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
        self.hall.with_dependent_mut(|hypervisor, residents| residents[slot.index()].load(slot, cpu, hypervisor));
    }

    /// Another gets its CPU.
    pub(crate) fn preempt(&mut self, slot: ApicSlot) {
        self.hall.with_dependent_mut(|hypervisor, residents| residents[slot.index()].preempt(slot, hypervisor));
    }

    /// The vCPU has nothing to do.
    pub(crate) fn block(&mut self, slot: ApicSlot, cpu: CpuId) -> Blocking {
        self.hall.with_dependent_mut(|hypervisor, residents| residents[slot.index()].block(slot, cpu, hypervisor))
    }

    /// The handler of the wake-up vector: the vCPUs that wake are requests afterwards.
    pub(crate) fn wake_up(&mut self, cpu: CpuId) {
        if !self.vcpus.is_empty() {
            posted::wake_up(self.hall.borrow_owner(), cpu);
        }
    }

    /// A CPU goes: what is blocked on its list goes to another's.
    pub(crate) fn relocate(&mut self, from: CpuId, to: CpuId) {
        if !self.vcpus.is_empty() {
            posted::relocate(self.hall.borrow_owner(), from, to);
        }
    }

    /// Whether whoever posted to a vCPU has sent a notification that it has not heard.
    pub(crate) fn is_notified(&self, slot: ApicSlot) -> bool {
        self.hall.borrow_owner().is_notified(slot)
    }

    /// Whether hardware is told where the vCPU is.
    pub(crate) fn is_told(&self, slot: ApicSlot, residency: Residency, cpu: CpuId) -> bool {
        self.hall.borrow_owner().is_told(slot, residency, cpu)
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
