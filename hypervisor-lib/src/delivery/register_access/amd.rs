//! AMD's processors: AVIC's rules, and what it makes of commands (APM vol. 2, 15.29).

use alloc::vec;
use alloc::vec::Vec;

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::IpiFailure;
use hypervisor_abi::avic::NoAcceleration;
use vector_allocator::Vector;

use super::RegisterAccess;
use super::answer::Case;
use super::answer::Duty;
use super::answer::Exit;
use super::answer::Fate;
use super::answer::Notice;
use super::answer::When;
use super::answer::Why;
use super::command_class::CommandClass;
use super::emulation::emulate;
use crate::delivery::Interception;
use crate::delivery::avic::Acceleration;
use crate::delivery::avic::Access;
use crate::delivery::avic::ExtendedLvt;
use crate::delivery::avic::Handler;
use crate::delivery::avic::Handling;
use crate::delivery::avic::Mode;
use crate::delivery::avic::Written;
use crate::delivery::avic::finish_access;
use crate::delivery::avic::interception;
use crate::delivery::choice::DoorbellRinger;
use crate::delivery::choice::GuestMode;

const REGISTERS: &str = "APM vol. 2, table 15-22";
const COMMANDS: &str = "APM vol. 2, 15.29.6.1";
const INCOMPLETE: &str = "APM vol. 2, table 15-27";
const X2APIC: &str = "APM vol. 2, 16.11";
const NESTED: &str = "APM vol. 2, 15.25.6";
const MSRS: &str = "APM vol. 2, 15.11";
const ERRATUM: &str = "AMD family 17h revision guide, erratum 1235";

/// Without AVIC: nothing is mapped where the page is, and the permission map stops every MSR.
pub(super) fn emulated(access: RegisterAccess) -> Case {
    let (exit, source) = match access.mode {
        GuestMode::XApic => (Exit::NestedPageFault(access.kind), NESTED),
        GuestMode::X2Apic => (Exit::Msr(access.kind, access.slot.msr()), MSRS),
    };
    Case::new(Fate::Fault(exit), Why::NoAssistance, Duty::Emulate(emulate(access)), source)
}

/// What becomes of an access; of one that sends, with the value.
pub(super) fn cases(ringer: DoorbellRinger, access: RegisterAccess) -> Vec<Case> {
    let without = with_extended(ringer, access, ExtendedLvt::Faults);
    let with = with_extended(ringer, access, ExtendedLvt::ReadsAllowed);
    if without == with {
        return without;
    }
    let without = without.into_iter().map(|case| case.when(When::NoExtendedLvt));
    with.into_iter().map(|case| case.when(When::ExtendedLvt)).chain(without).collect()
}

fn with_extended(ringer: DoorbellRinger, access: RegisterAccess, extended_lvt: ExtendedLvt) -> Vec<Case> {
    let mode = match access.mode {
        GuestMode::XApic => Mode::XAvic,
        GuestMode::X2Apic => Mode::X2Avic,
    };
    let acceleration = Acceleration { mode, extended_lvt };
    let (offset, msr) = (access.slot.offset(), access.slot.msr());
    let stops = interception(Handler::Avic(acceleration), access.kind, msr) == Interception::Intercept;
    if mode == Mode::X2Avic && stops {
        let fate = Fate::Fault(Exit::Msr(access.kind, msr));
        return vec![Case::new(fate, Why::Intercepted, Duty::Emulate(emulate(access)), MSRS)];
    }
    if mode == Mode::X2Avic && sets_reserved_bit(access) {
        return vec![Case::new(Fate::GeneralProtection, Why::ReservedBit, Duty::Nothing, X2APIC)];
    }
    let done = |why| Case::new(Fate::Completed, why, Duty::Nothing, REGISTERS);
    let exit = Exit::NoAcceleration(access.kind, offset);
    match acceleration.handling(access.kind, offset) {
        Handling::Allowed if acceleration.rule(offset).is_none() => vec![done(Why::PlainMemory)],
        Handling::Allowed => vec![done(Why::PageHolds)],
        Handling::Accelerated => vec![done(Why::TaskPriority)],
        Handling::AcceleratedIfEdge => vec![
            done(Why::EndOfInterrupt).when(When::EdgeEnds),
            Case::new(Fate::Trap(exit), Why::LevelTriggered, Duty::EndLevel, REGISTERS).when(When::LevelEnds),
        ],
        Handling::AcceleratedOrTrap => command(ringer, access),
        Handling::Trap => vec![Case::new(Fate::Trap(exit), Why::PageOnly, duty(acceleration, access), REGISTERS)],
        Handling::Fault => {
            vec![Case::new(Fate::Fault(exit), Why::NeverCompleted, duty(acceleration, access), REGISTERS)]
        }
        Handling::Absent => vec![Case::new(Fate::GeneralProtection, Why::NeverCompleted, Duty::Nothing, X2APIC)],
    }
}

/// Whether a write of an MSR that AVIC handles sets a bit it must not.
fn sets_reserved_bit(access: RegisterAccess) -> bool {
    let value = access.value.unwrap_or(0);
    let is_reserved = match access.slot.register() {
        Some(ApicRegister::Eoi) => value != 0,
        Some(ApicRegister::TaskPriority | ApicRegister::SelfIpi) => value > 0xff,
        Some(ApicRegister::IcrLow) => CommandClass::of(access.mode, value) == CommandClass::Reserved,
        _ => false,
    };
    is_reserved && access.kind == AccessKind::Write
}

/// What exit 402h leaves to do, as who handles it finds out.
fn duty(acceleration: Acceleration, access: RegisterAccess) -> Duty {
    let exit = NoAcceleration { access: access.kind, offset: access.slot.offset(), vector: 0 };
    match finish_access(acceleration, &BackingPage::default(), exit) {
        Ok(Access::Emulate { .. }) | Err(_) => Duty::Emulate(emulate(access)),
        Ok(Access::Written(Written::Id)) => Duty::CheckId,
        Ok(Access::Written(Written::LogicalId)) => Duty::RebuildLogicalTable,
        Ok(Access::Written(Written::Register(_) | Written::ExtendedLvt(_))) => Duty::FollowUp,
        Ok(Access::EndOfInterrupt(_)) => Duty::EndLevel,
    }
}

/// A command that has reached AVIC. Which of several failures it tells, the manual leaves open; the hypervisor does the same.
fn command(ringer: DoorbellRinger, access: RegisterAccess) -> Vec<Case> {
    let value = access.value.unwrap_or(0);
    let class = match access.slot.register() {
        Some(ApicRegister::SelfIpi) if Vector::new(value.to_le_bytes()[0]).is_err() => CommandClass::IllegalVector,
        Some(ApicRegister::SelfIpi) => CommandClass::Myself,
        _ => CommandClass::of(access.mode, value),
    };
    let sent = Case::new(Fate::Completed, Why::SetsRequest, Duty::Nothing, COMMANDS);
    let fails = |failure, why, duty| Case::new(Fate::Trap(Exit::IncompleteIpi(failure)), why, duty, INCOMPLETE);
    let send = Duty::Send(Notice::Doorbell);
    let reached = match ringer {
        DoorbellRinger::Processor => vec![
            sent.clone().when(When::TargetsRun),
            fails(IpiFailure::TargetNotRunning, Why::NotRunning, Duty::Wake).when(When::TargetAway),
        ],
        DoorbellRinger::Hypervisor => {
            let told = fails(IpiFailure::TargetNotRunning, Why::Erratum1235, Duty::TellTargets);
            vec![Case { source: ERRATUM, ..told }.when(When::TargetKnown)]
        }
    };
    match class {
        CommandClass::Reserved => {
            vec![Case::new(Fate::Unspecified, Why::ManualSilent, Duty::Either, COMMANDS)]
        }
        CommandClass::NotFixed => vec![fails(IpiFailure::InvalidType, Why::DeliveryMode, send)],
        CommandClass::Level => vec![fails(IpiFailure::InvalidType, Why::TriggerMode, send)],
        CommandClass::IllegalVector => {
            vec![fails(IpiFailure::InvalidVector, Why::IllegalVector, Duty::NoteIllegalVector)]
        }
        CommandClass::Myself => vec![Case { why: Why::SelfIpi, ..sent }],
        // Entries that are not valid do not count for a broadcast.
        CommandClass::Several | CommandClass::Broadcast | CommandClass::LogicalBroadcast => reached
            .into_iter()
            .map(|case| if case.when == When::TargetKnown { case.when(When::Always) } else { case })
            .collect(),
        CommandClass::Logical | CommandClass::One => {
            let unknown = fails(IpiFailure::InvalidTarget, Why::NotInTable, send).when(When::TargetUnknown);
            reached.into_iter().chain([unknown]).collect()
        }
    }
}
