//! Intel's processors: the tables of APIC virtualization, and what IPI virtualization makes of commands.

use alloc::vec;
use alloc::vec::Vec;

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::avic::AccessKind;
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
use super::command_class::command;
use super::emulation::emulate;
use crate::delivery::Interception;
use crate::delivery::apicv::AfterWrite;
use crate::delivery::apicv::ApicvControls;
use crate::delivery::apicv::MsrIntercepts;
use crate::delivery::apicv::MsrWrite;
use crate::delivery::apicv::PageRead;
use crate::delivery::apicv::PageWrite;
use crate::delivery::apicv::TABLE;
use crate::delivery::apicv::With;
use crate::delivery::apicv::read_page;
use crate::delivery::apicv::write_msr;
use crate::delivery::apicv::write_page;
use crate::delivery::choice::Engine;
use crate::delivery::choice::GuestMode;
use crate::delivery::ipiv::Assist;
use crate::delivery::ipiv::IcrWrite;
use crate::delivery::ipiv::Interface;
use crate::delivery::ipiv::Outcome;
use crate::delivery::ipiv::Rest;
use crate::delivery::ipiv::finish;
use crate::delivery::ipiv::judge;
use crate::delivery::software::AccessWidth;

const READS: &str = "SDM vol. 3C, 30.4.2";
const WRITES: &str = "SDM vol. 3C, 30.4.3";
const MSRS: &str = "SDM vol. 3C, 30.5";
const TPR: &str = "SDM vol. 3C, 30.1.2";
const EOI: &str = "SDM vol. 3C, 30.1.4";
const SELF_IPI: &str = "SDM vol. 3C, 30.1.5";
const IPI: &str = "SDM vol. 3C, 30.1.6";

/// The controls an engine runs a vCPU with.
pub(super) fn controls(engine: Engine, mode: GuestMode) -> ApicvControls {
    let assists = !matches!(engine, Engine::Software);
    ApicvControls {
        tpr_shadow: true,
        accesses: mode == GuestMode::XApic,
        x2apic: mode == GuestMode::X2Apic,
        registers: assists,
        delivery: assists,
        posting: matches!(engine, Engine::Posted | Engine::IpiVirtualization),
        ipis: engine == Engine::IpiVirtualization,
        external_interrupts_exit: true,
        acknowledge_on_exit: true,
    }
}

/// What becomes of an access; of one that sends, with the value.
pub(super) fn cases(engine: Engine, access: RegisterAccess) -> Vec<Case> {
    let controls = controls(engine, access.mode);
    let emulated = |exit, why, source| vec![Case::new(Fate::Fault(exit), why, Duty::Emulate(emulate(access)), source)];
    let held = |source| vec![Case::new(Fate::Completed, Why::PageHolds, Duty::Nothing, source)];
    let (offset, msr) = (access.slot.offset(), access.slot.msr());
    let intercepts = MsrIntercepts::new(controls);
    match (access.mode, access.kind) {
        (GuestMode::XApic, AccessKind::Read) => match read_page(controls, offset, AccessWidth::Dword) {
            PageRead::Virtualized => held(READS),
            PageRead::AccessExit => emulated(Exit::ApicAccess(access.kind, offset), not_completed(access), READS),
        },
        (GuestMode::X2Apic, AccessKind::Read) if intercepts.read_exits(msr) => {
            emulated(Exit::Rdmsr(msr), Why::Intercepted, MSRS)
        }
        (GuestMode::X2Apic, AccessKind::Read) => held(MSRS),
        (GuestMode::X2Apic, AccessKind::Write) if intercepts.write_exits(msr) => {
            emulated(Exit::Wrmsr(msr), Why::Intercepted, MSRS)
        }
        (_, AccessKind::Write) if access.sends() => commands(engine, access, controls),
        (GuestMode::XApic, AccessKind::Write) => match write_page(controls, offset, AccessWidth::Dword, Icr::new()) {
            PageWrite::Virtualized(then) => follow(controls, then, WRITES),
            PageWrite::AccessExit => emulated(Exit::ApicAccess(access.kind, offset), not_completed(access), WRITES),
        },
        (GuestMode::X2Apic, AccessKind::Write) => match write_msr(controls, msr, access.value.unwrap_or(0)) {
            MsrWrite::Virtualized(then) => follow(controls, then, MSRS),
            MsrWrite::Fault => vec![Case::new(Fate::GeneralProtection, Why::ReservedBit, Duty::Nothing, MSRS)],
            // The bitmap stops it before that.
            MsrWrite::Physical => emulated(Exit::Wrmsr(msr), Why::Intercepted, MSRS),
        },
    }
}

/// Whether some control would complete an access to the page.
fn not_completed(access: RegisterAccess) -> Why {
    let row = TABLE.iter().find(|row| (row.first..=row.last).contains(&access.slot.offset()));
    let with = row.map_or(With::Never, |row| match access.kind {
        AccessKind::Read => row.reads,
        AccessKind::Write => row.writes,
    });
    if with == With::Never { Why::NeverCompleted } else { Why::ControlOff }
}

/// What follows a write that has been virtualized and sends nothing.
fn follow(controls: ApicvControls, then: AfterWrite, source: &'static str) -> Vec<Case> {
    let completed = |why, source| Case::new(Fate::Completed, why, Duty::Nothing, source);
    match then {
        // With virtual-interrupt delivery the processor looks for an interrupt itself, and there is no threshold.
        AfterWrite::Tpr if controls.delivery => vec![completed(Why::TaskPriority, TPR)],
        AfterWrite::Tpr => vec![
            completed(Why::TaskPriority, TPR).when(When::ReachesThreshold),
            Case::new(Fate::Trap(Exit::TprBelowThreshold), Why::Threshold, Duty::Reevaluate, TPR)
                .when(When::BelowThreshold),
        ],
        AfterWrite::Eoi => vec![
            completed(Why::EndOfInterrupt, EOI).when(When::EoiUnwatched),
            Case::new(Fate::Trap(Exit::VirtualizedEoi), Why::EoiExitBitmap, Duty::TellEnd, EOI).when(When::EoiWatched),
        ],
        AfterWrite::Exit(offset) => {
            vec![Case::new(Fate::Trap(Exit::ApicWrite(offset)), Why::PageOnly, Duty::FollowUp, source)]
        }
        AfterWrite::Nothing => vec![completed(Why::PageHolds, source)],
        AfterWrite::SelfIpi(_) => vec![completed(Why::SelfIpi, SELF_IPI)],
        AfterWrite::Ipi { .. } => vec![completed(Why::Posts, IPI)],
    }
}

/// A write that sends and that no bitmap stops.
fn commands(engine: Engine, access: RegisterAccess, controls: ApicvControls) -> Vec<Case> {
    let value = access.value.unwrap_or(0);
    let through = Interception::PassThrough;
    let (write, interface) = match (access.mode, access.slot.register()) {
        (GuestMode::XApic, _) => {
            let icr = Icr::from(value);
            (IcrWrite::Memory { low: icr.low(), high: icr.destination() }, Interface::Page)
        }
        (GuestMode::X2Apic, Some(ApicRegister::SelfIpi)) => (IcrWrite::SelfIpiMsr(value, through), Interface::Msrs),
        (GuestMode::X2Apic, _) => (IcrWrite::Msr(value, through), Interface::Msrs),
    };
    let source = if access.mode == GuestMode::XApic { WRITES } else { MSRS };
    let exit = |why| Case::new(Fate::Trap(Exit::ApicWrite(access.slot.offset())), why, rest(engine, access), source);
    match judge(write, interface, assist(controls)) {
        Outcome::SelfIpi(_) => vec![Case::new(Fate::Completed, Why::SelfIpi, Duty::Nothing, SELF_IPI)],
        Outcome::Ipi { .. } => {
            let known = Case::new(Fate::Completed, Why::Posts, Duty::Nothing, IPI).when(When::TargetKnown);
            let unknown = Case { source: IPI, ..exit(Why::NotInTable) };
            match CommandClass::of(access.mode, value) {
                // No entry has that number, so the look-up fails.
                CommandClass::Broadcast => vec![Case { why: Why::Broadcast, ..unknown }],
                _ => vec![known, unknown.when(When::TargetUnknown)],
            }
        }
        Outcome::ApicWriteExit(_) => vec![exit(obstacle(access, controls))],
        Outcome::GeneralProtection => {
            vec![Case::new(Fate::GeneralProtection, Why::ReservedBit, Duty::Nothing, source)]
        }
        Outcome::ApicAccessExit | Outcome::MsrExit | Outcome::HostApic => {
            let exit = Exit::ApicAccess(access.kind, access.slot.offset());
            vec![Case::new(Fate::Fault(exit), Why::ControlOff, Duty::Emulate(emulate(access)), source)]
        }
    }
}

fn assist(controls: ApicvControls) -> Assist {
    match (controls.delivery, controls.ipis) {
        (false, _) => Assist::TprShadow,
        (true, false) => Assist::Delivery,
        (true, true) => Assist::IpiVirtualization,
    }
}

/// What is left of a command after an APIC-write exit.
fn rest(engine: Engine, access: RegisterAccess) -> Duty {
    let value = access.value.unwrap_or(0);
    let icr = match access.slot.register() {
        Some(ApicRegister::SelfIpi) => Icr::new().with_vector(value.to_le_bytes()[0]),
        _ => command(access.mode, value),
    };
    match (finish(icr), engine) {
        (Rest::IllegalVector(_), _) => Duty::NoteIllegalVector,
        (Rest::Send(_), Engine::Posted | Engine::IpiVirtualization) => Duty::Send(Notice::Post),
        (Rest::Send(_), Engine::Software | Engine::Apicv | Engine::Avic(_)) => Duty::Send(Notice::Kick),
    }
}

/// What the processor does not like about a command.
fn obstacle(access: RegisterAccess, controls: ApicvControls) -> Why {
    let value = access.value.unwrap_or(0);
    if access.slot.register() == Some(ApicRegister::SelfIpi) {
        let is_illegal = Vector::new(value.to_le_bytes()[0]).is_err();
        return if is_illegal { Why::IllegalVector } else { Why::ReservedBit };
    }
    match CommandClass::of(access.mode, value) {
        CommandClass::Reserved => Why::ReservedBit,
        CommandClass::NotFixed => Why::DeliveryMode,
        CommandClass::Level => Why::TriggerMode,
        CommandClass::IllegalVector => Why::IllegalVector,
        CommandClass::Myself => Why::SelfByMsr,
        _ if !controls.ipis => Why::NoIpiVirtualization,
        CommandClass::Several => Why::Shorthand,
        CommandClass::Logical | CommandClass::LogicalBroadcast => Why::LogicalDestination,
        CommandClass::Broadcast | CommandClass::One => Why::NotInTable,
    }
}
