//! What a guest does, and what happens to it.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Message;

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Something a vCPU does or that is done with it; one that is not there is the last.
    On(usize, Act),
    /// A device sends.
    Send(Source),
    /// Time passes: so many ticks of both clocks.
    Pass(u64),
}

/// What concerns one vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A read of a register, in whatever way the mode has.
    Read(ApicRegister),
    /// A write of a register.
    Write(ApicRegister, u64),
    /// A write of `IA32_APIC_BASE`.
    WriteBase(u64),
    /// A write of `IA32_TSC_DEADLINE`.
    WriteDeadline(u64),
    /// MOV to CR8.
    WriteCr8(u8),
    /// STI, its shadow being over.
    EnableInterrupts,
    /// CLI.
    DisableInterrupts,
    /// IRET, which ends the blocking of non-maskable interrupts.
    ReturnFromNmi,
    /// An exit that has nothing to do with any of this.
    Leave,
    /// Would it wake?
    AskToWake,
    /// A route wants to hear of this vector's ends, from now on.
    Route(u8),
}

/// A device's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Whom it is for.
    pub destination: Destination,
    /// What it is.
    pub delivery: DeliveryMode,
    /// Its vector.
    pub vector: u8,
}

/// Of four neighbouring vectors one is always level-triggered, the others never: PIR does not say how a vector is triggered, so
/// TMR is not right for one that is now this and now that ([`hypervisor_lib::delivery::engine`]).
pub(crate) fn trigger(vector: u8) -> TriggerMode {
    if vector % 4 == 1 { TriggerMode::Level } else { TriggerMode::Edge }
}

impl Source {
    pub(crate) fn message(self) -> Message {
        Message {
            destination: self.destination,
            delivery: self.delivery,
            vector: self.vector,
            trigger: trigger(self.vector),
        }
    }
}
