//! Answers in words.

use core::fmt;

use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::IpiFailure;

use super::answer::Duty;
use super::answer::Exit;
use super::answer::Fate;
use super::answer::Maker;
use super::answer::Notice;
use super::answer::When;
use super::answer::Why;
use super::command_class::CommandClass;
use super::emulation::Emulation;

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intel => "on Intel's processors",
            Self::Amd => "on AMD's processors",
        })
    }
}

impl fmt::Display for CommandClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "with a reserved bit",
            Self::NotFixed => "of another delivery mode than fixed",
            Self::Level => "that is level-triggered",
            Self::IllegalVector => "with a vector below 16",
            Self::Myself => "to the sender itself",
            Self::Several => "to all, or all others, by shorthand",
            Self::Broadcast => "to the physical broadcast",
            Self::LogicalBroadcast => "to the logical broadcast",
            Self::Logical => "to logical destinations",
            Self::One => "to one physical destination",
        })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::ReachesThreshold => "the class is not below the TPR threshold",
            Self::BelowThreshold => "the class is below the TPR threshold",
            Self::EoiUnwatched => "the EOI-exit bitmap does not have the vector",
            Self::EoiWatched => "the EOI-exit bitmap has the vector",
            Self::EdgeEnds => "the interrupt was edge-triggered",
            Self::LevelEnds => "the interrupt was level-triggered",
            Self::TargetKnown => "the target is in the table",
            Self::TargetUnknown => "the target is not in the table",
            Self::TargetsRun => "every target has IsRunning set",
            Self::TargetAway => "a target has IsRunning clear",
            Self::ExtendedLvt => "CPUID 8000_000A EDX bit 27 is set",
            Self::NoExtendedLvt => "CPUID 8000_000A EDX bit 27 is clear",
        })
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => write!(f, "virtualized"),
            Self::Trap(exit) => write!(f, "exits after: {exit}"),
            Self::Fault(exit) => write!(f, "exits before: {exit}"),
            Self::GeneralProtection => write!(f, "#GP"),
            Self::Unspecified => write!(f, "not specified"),
        }
    }
}

/// The access type that an APIC-access exit's qualification has in bits 15:12: linear reads and writes.
const fn access_type(kind: AccessKind) -> u16 {
    match kind {
        AccessKind::Read => 0,
        AccessKind::Write => 1,
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rdmsr(msr) => write!(f, "reason 31, RDMSR, ECX {msr:03X}h"),
            Self::Wrmsr(msr) => write!(f, "reason 32, WRMSR, ECX {msr:03X}h"),
            Self::TprBelowThreshold => write!(f, "reason 43, TPR below threshold"),
            Self::ApicAccess(kind, offset) => {
                write!(f, "reason 44, APIC access, qualification {:04X}h", access_type(*kind) << 12 | offset)
            }
            Self::VirtualizedEoi => write!(f, "reason 45, virtualized EOI, qualification: the vector"),
            Self::ApicWrite(offset) => write!(f, "reason 56, APIC write, qualification {offset:03X}h"),
            Self::Msr(kind, msr) => {
                write!(f, "code 7Ch, MSR, EXITINFO1 {}, ECX {msr:03X}h", access_type(*kind))
            }
            Self::NestedPageFault(kind) => {
                write!(f, "code 400h, nested page fault, EXITINFO1 bit 1 {}", access_type(*kind))
            }
            Self::IncompleteIpi(failure) => {
                write!(f, "code 401h, incomplete IPI, EXITINFO2 63:32 {}", failure_number(*failure))
            }
            Self::NoAcceleration(kind, offset) => {
                let info = u64::from(access_type(*kind)) << 32 | u64::from(*offset);
                write!(f, "code 402h, no acceleration, EXITINFO1 {info:X}h")
            }
        }
    }
}

fn failure_number(failure: IpiFailure) -> u32 {
    match failure {
        IpiFailure::InvalidType => 0,
        IpiFailure::TargetNotRunning => 1,
        IpiFailure::InvalidTarget => 2,
        IpiFailure::InvalidBackingPage => 3,
        IpiFailure::InvalidVector => 4,
        IpiFailure::SecureAvic => 5,
        IpiFailure::Reserved(number) => number,
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PageHolds => "the page has the register's value",
            Self::PlainMemory => "there is no register, and the processor takes the place for plain memory",
            Self::TaskPriority => "TPR virtualization: the page takes the value, and interrupts are looked at anew",
            Self::EndOfInterrupt => "EOI virtualization: the highest vector leaves service, and the next is looked at",
            Self::SelfIpi => "the vector becomes pending in the sender",
            Self::Posts => "the vector is posted; whether the target is told depends on its descriptor alone",
            Self::SetsRequest => "the vector is set in the IRR of every target, and their doorbells are rung",
            Self::Threshold => "the hypervisor has set a threshold, to hear when an interrupt is no longer masked",
            Self::EoiExitBitmap => "the EOI-exit bitmap asks for the end of this vector",
            Self::LevelTriggered => "the TMR has the vector: the ends of level-triggered interrupts come out",
            Self::ControlOff => "the control that would complete it is off",
            Self::NoAssistance => "without AVIC the processor helps with no register",
            Self::NeverCompleted => "no processor completes it",
            Self::PageOnly => "the page takes the value; what that means is left to the hypervisor",
            Self::Intercepted => "the MSR bitmap lets through only what ends in the page",
            Self::ReservedBit => "the value sets a reserved bit",
            Self::NoIpiVirtualization => "without IPI virtualization only commands to the sender itself are taken on",
            Self::DeliveryMode => "the delivery mode is not fixed",
            Self::TriggerMode => "the command is level-triggered",
            Self::IllegalVector => "the vector is below 16",
            Self::Shorthand => "IPI virtualization takes no shorthand but the sender's own",
            Self::LogicalDestination => "IPI virtualization takes no logical destination",
            Self::Broadcast => "IPI virtualization looks a broadcast up like any number, and no entry has it",
            Self::NotInTable => "the target has no valid entry",
            Self::NotRunning => "the vector is set in every IRR, but a target is on no core",
            Self::Erratum1235 => {
                "IsRunning is never set, because of erratum 1235: the IRR is set, and no doorbell rung"
            }
            Self::SelfByMsr => "MSR 830h takes no shorthand; the manual leaves the sender's own open",
            Self::ManualSilent => "the manual does not say what a reserved bit of the page's ICR does",
        })
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing"),
            Self::Emulate(emulation) => write!(f, "{emulation}"),
            Self::FollowUp => write!(f, "do what a write of the register does, by what the page holds"),
            Self::Send(notice) => write!(f, "send the whole command: {notice}"),
            Self::NoteIllegalVector => write!(f, "note the illegal vector in the sender's ESR"),
            Self::Reevaluate => write!(f, "look for an interrupt that is no longer masked"),
            Self::TellEnd => write!(f, "tell whoever waits for the end of the vector"),
            Self::EndLevel => write!(f, "tell the I/O APICs; clear the in-service bit if it is still set"),
            Self::Wake => write!(f, "wake the targets that are on no core; set no IRR again"),
            Self::TellTargets => write!(f, "ring or wake each target; set no IRR again"),
            Self::CheckId => write!(f, "inhibit AVIC unless the ID is the first one"),
            Self::RebuildLogicalTable => write!(f, "build the logical APIC-ID table anew"),
            Self::Either => write!(f, "be ready for either"),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kick => "each target is kicked, and looks into its inbox",
            Self::Post => "a vector is posted to each target's descriptor, anything else kicks it",
            Self::Doorbell => "a vector is set in each target's IRR and a doorbell rung, anything else kicks it",
        })
    }
}

impl fmt::Display for Emulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "emulate it, and go on after the instruction",
            Self::Ignored => "ignore it, as the register can only be read, and go on after the instruction",
            Self::Zero => "give zero, as the register can only be written, and go on after the instruction",
            Self::IllegalRegister => "note an illegal register in ESR, give zero, and go on after the instruction",
            Self::GeneralProtection => "inject a general-protection fault",
        })
    }
}
