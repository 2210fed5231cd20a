//! The parts of an answer.

use alloc::vec::Vec;

use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::IpiFailure;

use super::command_class::CommandClass;
use super::emulation::Emulation;

/// What becomes of an access in one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Whose processor it is; none if the engine says so.
    pub maker: Option<Maker>,
    /// Which commands it is about; empty if it does not matter, or the value is known.
    pub commands: Vec<CommandClass>,
    /// What else has to hold.
    pub when: When,
    /// What the processor does.
    pub fate: Fate,
    /// Why.
    pub why: Why,
    /// What the hypervisor does then.
    pub duty: Duty,
    /// Where the manual says so.
    pub source: &'static str,
}

impl Case {
    /// One that depends on nothing.
    pub(super) const fn new(fate: Fate, why: Why, duty: Duty, source: &'static str) -> Self {
        Self { maker: None, commands: Vec::new(), when: When::Always, fate, why, duty, source }
    }

    /// The same, but only then.
    pub(super) fn when(self, when: When) -> Self {
        Self { when, ..self }
    }
}

/// Who made the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Maker {
    /// Intel.
    Intel,
    /// AMD.
    Amd,
}

/// What an answer depends on that an access does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Nothing.
    Always,
    /// The new task priority's class is not below the TPR threshold of the VMCS.
    ReachesThreshold,
    /// It is.
    BelowThreshold,
    /// The EOI-exit bitmap does not have the vector that ends.
    EoiUnwatched,
    /// It has.
    EoiWatched,
    /// The vector that ends was accepted edge-triggered, by the TMR.
    EdgeEnds,
    /// It was accepted level-triggered.
    LevelEnds,
    /// The target has a valid entry in the PID-pointer table, or every target one in AVIC's tables.
    TargetKnown,
    /// It has none.
    TargetUnknown,
    /// Every target has IsRunning set in the physical APIC-ID table.
    TargetsRun,
    /// One of them has not.
    TargetAway,
    /// The processor handles the extended entries of the local vector table (CPUID 8000_000A EDX bit 27).
    ExtendedLvt,
    /// It does not.
    NoExtendedLvt,
}

/// What the processor does with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It completes it, and the guest goes on.
    Completed,
    /// It exits after the access is done: the instruction pointer is past the instruction.
    Trap(Exit),
    /// It exits before anything is done.
    Fault(Exit),
    /// The guest gets a general-protection fault.
    GeneralProtection,
    /// The manual leaves it open.
    Unspecified,
}

/// An exit, with all it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Intel's reason 31, RDMSR: ECX has the number.
    Rdmsr(u32),
    /// Intel's reason 32, WRMSR: ECX has the number.
    Wrmsr(u32),
    /// Intel's reason 43, TPR below threshold.
    TprBelowThreshold,
    /// Intel's reason 44, APIC access, of this kind at this offset.
    ApicAccess(AccessKind, u16),
    /// Intel's reason 45, virtualized EOI: the qualification is the vector.
    VirtualizedEoi,
    /// Intel's reason 56, APIC write, at this offset.
    ApicWrite(u16),
    /// AMD's code 7Ch, MSR.
    Msr(AccessKind, u32),
    /// AMD's code 400h, nested page fault: nothing is mapped where the guest has its page.
    NestedPageFault(AccessKind),
    /// AMD's code 401h, incomplete IPI.
    IncompleteIpi(IpiFailure),
    /// AMD's code 402h, of this kind at this offset.
    NoAcceleration(AccessKind, u16),
}

/// Why a processor does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The page has the register's value.
    PageHolds,
    /// There is no register, and the processor takes the place for memory.
    PlainMemory,
    /// TPR virtualization.
    TaskPriority,
    /// EOI virtualization.
    EndOfInterrupt,
    /// The vector becomes pending in the sender.
    SelfIpi,
    /// The vector is posted to the descriptor of the target.
    Posts,
    /// The vector is set in the IRR of the targets, and their doorbells are rung.
    SetsRequest,
    /// The task priority is below the threshold that the hypervisor has set.
    Threshold,
    /// The EOI-exit bitmap asks for it.
    EoiExitBitmap,
    /// Ends of level-triggered interrupts are the hypervisor's.
    LevelTriggered,
    /// The control that would complete it is off under this engine.
    ControlOff,
    /// The engine has no processor's help.
    NoAssistance,
    /// The processor never completes it.
    NeverCompleted,
    /// The processor puts the value into the page and leaves the rest.
    PageOnly,
    /// The MSR bitmap stops it.
    Intercepted,
    /// A reserved bit is set.
    ReservedBit,
    /// IPI virtualization is off.
    NoIpiVirtualization,
    /// The delivery mode.
    DeliveryMode,
    /// The trigger mode.
    TriggerMode,
    /// The vector is below 16.
    IllegalVector,
    /// The shorthand.
    Shorthand,
    /// The destination mode.
    LogicalDestination,
    /// The destination means everybody.
    Broadcast,
    /// The target is not in the table.
    NotInTable,
    /// A target is on no core.
    NotRunning,
    /// IsRunning is never set, because of erratum 1235.
    Erratum1235,
    /// The manual leaves open whether a command to oneself by MSR 830h is carried out.
    SelfByMsr,
    /// The manual does not say what reserved bits of a command do.
    ManualSilent,
}

/// What is left to the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Nothing.
    Nothing,
    /// Carry the access out on the local APIC in software, and move on to the next instruction.
    Emulate(Emulation),
    /// Do what a write of the register does, by what the page holds. The instruction is over.
    FollowUp,
    /// Send the command, whole; its targets come to know by this.
    Send(Notice),
    /// Note the error in the sender's ESR, and raise its error interrupt.
    NoteIllegalVector,
    /// Look for an interrupt that is no longer masked.
    Reevaluate,
    /// Tell whoever waits for the end of this vector.
    TellEnd,
    /// Tell the I/O APICs of the end, and clear the in-service bit if it is still set.
    EndLevel,
    /// Wake the targets that are on no core, and set no IRR again.
    Wake,
    /// Tell each target, wherever it is, and set no IRR again.
    TellTargets,
    /// Inhibit AVIC unless the ID is the first one.
    CheckId,
    /// Build the logical APIC-ID table anew.
    RebuildLogicalTable,
    /// Be ready for either.
    Either,
}

/// How a target comes to know that software has sent it something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// It is taken out of the guest, or woken, and looks into its inbox.
    Kick,
    /// Its descriptor takes a vector, and the notification vector tells its core. What is no vector needs a kick.
    Post,
    /// Its page takes a vector, and a doorbell tells its core. What is no vector needs a kick.
    Doorbell,
}
