//! What becomes of every access to every register, on every engine: against tables written down from the manuals apart from
//! the library's, and against its cores.

use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::IpiFailure;
use hypervisor_lib::delivery::DoorbellRinger;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::GuestMode;
use hypervisor_lib::delivery::apicv::AfterWrite;
use hypervisor_lib::delivery::apicv::ApicvControls;
use hypervisor_lib::delivery::apicv::MsrWrite;
use hypervisor_lib::delivery::apicv::PageWrite;
use hypervisor_lib::delivery::apicv::write_msr;
use hypervisor_lib::delivery::apicv::write_page;
use hypervisor_lib::delivery::register_access::Case;
use hypervisor_lib::delivery::register_access::CommandClass;
use hypervisor_lib::delivery::register_access::Duty;
use hypervisor_lib::delivery::register_access::ENGINES;
use hypervisor_lib::delivery::register_access::Emulation;
use hypervisor_lib::delivery::register_access::Exit;
use hypervisor_lib::delivery::register_access::Fate;
use hypervisor_lib::delivery::register_access::Maker;
use hypervisor_lib::delivery::register_access::Notice;
use hypervisor_lib::delivery::register_access::RegisterAccess;
use hypervisor_lib::delivery::register_access::RegisterSlot;
use hypervisor_lib::delivery::register_access::When;
use hypervisor_lib::delivery::register_access::judge_access;
use hypervisor_lib::delivery::software::AccessWidth;

const MODES: [GuestMode; 2] = [GuestMode::XApic, GuestMode::X2Apic];
const KINDS: [AccessKind; 2] = [AccessKind::Read, AccessKind::Write];
const AVIC: Engine = Engine::Avic(DoorbellRinger::Processor);

/// A letter for each register from 000h on: v virtualized, t an exit after, f an exit before, and where it depends: e the
/// interrupt that ends, p the task priority, c the command, l the extended local vector table. What follows repeats the last
/// letter. Four registers to a group.
fn letters(engine: Engine, mode: GuestMode, kind: AccessKind) -> &'static str {
    use AccessKind::Read;
    use AccessKind::Write;
    match (engine, mode, kind) {
        (Engine::Software, _, Read) => "ffff ffff vf",
        (Engine::Software, _, Write) => "ffff ffff pf",
        (Engine::Apicv | Engine::Posted | Engine::IpiVirtualization, GuestMode::XApic, Read) => {
            "ffvv ffff vffv fvvv vvvv vvvv vvvv vvvv vvvv vvvv vfff ffff vvvv vvvv vfff ffvf"
        }
        (Engine::Apicv | Engine::Posted | Engine::IpiVirtualization, GuestMode::XApic, Write) => {
            "fftf ffff vffe fttt ffff ffff ffff ffff ffff ffff tfff ffff cvtt tttt tfff fftf"
        }
        (Engine::Apicv | Engine::Posted | Engine::IpiVirtualization, GuestMode::X2Apic, Read) => {
            "ffvv ffff vfff fvfv vvvv vvvv vvvv vvvv vvvv vvvv vfff ffff ffvv vvvv ffff ffvf"
        }
        (Engine::Apicv | Engine::Posted, GuestMode::X2Apic, Write) => {
            "ffff ffff vffe ffff ffff ffff ffff ffff ffff ffff ffff ffff ffff ffff ffff fffc f"
        }
        (Engine::IpiVirtualization, GuestMode::X2Apic, Write) => {
            "ffff ffff vffe ffff ffff ffff ffff ffff ffff ffff ffff ffff cfff ffff ffff fffc f"
        }
        (Engine::Avic(_), GuestMode::XApic, Read) => {
            "vvvv vvvv vfvv vvvv vvvv vvvv vvvv vvvv vvvv vvvv vvvv vvvv vvvv vvvv vfvv vvvv fffv vvvv ffff ffff llll f"
        }
        (Engine::Avic(_), GuestMode::XApic, Write) => {
            "vvtf vvvv vffe tttt ffff ffff ffff ffff ffff ffff tvvv vvvv cvtt tttt tfvv vvtv fffv vvvv ffff ffff llll f"
        }
        (Engine::Avic(_), GuestMode::X2Apic, Read) => {
            "ffvv ffff vfvf fvfv vvvv vvvv vvvv vvvv vvvv vvvv vfff ffff vfvv vvvv vfff ffvf ffff ffff ffff ffff llll f"
        }
        (Engine::Avic(_), GuestMode::X2Apic, Write) => {
            "ffff ffff vffe ffff ffff ffff ffff ffff ffff ffff ffff ffff cfff ffff ffff fffc f"
        }
    }
}

fn letter(cases: &[Case]) -> char {
    let depends_on = |when| cases.iter().any(|case| case.when == when);
    match cases {
        [Case { fate: Fate::Completed, .. }] => 'v',
        [Case { fate: Fate::Trap(_), .. }] => 't',
        _ if cases.iter().all(|case| matches!(case.fate, Fate::Fault(_))) => 'f',
        _ if cases.iter().any(|case| !case.commands.is_empty()) => 'c',
        _ if depends_on(When::EoiWatched) || depends_on(When::LevelEnds) => 'e',
        _ if depends_on(When::BelowThreshold) => 'p',
        _ if depends_on(When::ExtendedLvt) => 'l',
        _ => panic!("{cases:?}"),
    }
}

fn accesses() -> impl Iterator<Item = RegisterAccess> {
    let of = |mode, kind| RegisterSlot::all().map(move |slot| RegisterAccess { mode, kind, slot, value: None });
    MODES.into_iter().flat_map(move |mode| KINDS.into_iter().flat_map(move |kind| of(mode, kind)))
}

#[test]
fn every_access_to_every_place_is_answered_on_every_engine_as_the_manuals_say() {
    for engine in ENGINES {
        for access in accesses() {
            let expected = letters(engine, access.mode, access.kind);
            let mut expected = expected.chars().filter(|letter| *letter != ' ');
            let position = usize::from(access.slot.offset() / 16);
            let expected = expected.clone().nth(position).or_else(|| expected.next_back());
            let cases = judge_access(engine, access);
            let (amds, cases): (Vec<Case>, Vec<Case>) =
                cases.into_iter().partition(|case| case.maker == Some(Maker::Amd));
            assert_eq!(Some(letter(&cases)), expected, "{engine:?} {access:x?}");
            assert_eq!(amds.is_empty(), engine != Engine::Software);
            assert!(amds.iter().all(|case| matches!(case.fate, Fate::Fault(_))), "{access:?}");
            for case in cases.iter().chain(&amds) {
                assert!(case.source.starts_with("SDM vol. 3C, ") || case.source.starts_with("A"), "{}", case.source);
                assert!(!case.why.to_string().is_empty() && !case.duty.to_string().is_empty());
            }
        }
    }
}

#[test]
fn the_cases_of_an_answer_differ_in_what_they_depend_on() {
    for engine in ENGINES {
        for access in accesses() {
            let cases = judge_access(engine, access);
            for (position, case) in cases.iter().enumerate() {
                for other in &cases[..position] {
                    let is_apart = other.maker != case.maker
                        || other.when != case.when
                        || !other.commands.iter().any(|class| case.commands.contains(class));
                    assert!(is_apart, "{engine:?} {access:x?}: {case:?} and {other:?}");
                }
            }
            if access.sends() && cases.iter().any(|case| !case.commands.is_empty()) {
                let mut classes: Vec<CommandClass> = cases.iter().flat_map(|case| case.commands.clone()).collect();
                classes.sort_unstable();
                classes.dedup();
                let all =
                    if access.slot.register() == Some(ApicRegister::SelfIpi) { 3 } else { CommandClass::ALL.len() };
                assert_eq!(classes.len(), all, "{engine:?} {access:x?}");
            }
        }
    }
}

#[test]
fn what_exits_before_it_is_done_is_emulated_as_the_register_table_has_it() {
    for engine in ENGINES {
        for access in accesses() {
            let register = access.slot.register();
            let right = match access.mode {
                GuestMode::XApic => register.map_or(ApicAccess::Reserved, ApicRegister::xapic_access),
                GuestMode::X2Apic => register.map_or(ApicAccess::Reserved, ApicRegister::x2apic_access),
            };
            let expected = match (access.mode, access.kind, right) {
                (GuestMode::XApic, _, ApicAccess::Reserved) => Emulation::IllegalRegister,
                (GuestMode::X2Apic, _, ApicAccess::Reserved)
                | (GuestMode::X2Apic, AccessKind::Read, ApicAccess::WriteOnly)
                | (GuestMode::X2Apic, AccessKind::Write, ApicAccess::ReadOnly) => Emulation::GeneralProtection,
                (GuestMode::XApic, AccessKind::Read, ApicAccess::WriteOnly) => Emulation::Zero,
                (GuestMode::XApic, AccessKind::Write, ApicAccess::ReadOnly) => Emulation::Ignored,
                _ => Emulation::Done,
            };
            for case in judge_access(engine, access) {
                let Fate::Fault(_) = case.fate else { continue };
                let is_reserved_command = case.commands.contains(&CommandClass::Reserved);
                let expected = if is_reserved_command && access.mode == GuestMode::X2Apic {
                    Emulation::GeneralProtection
                } else {
                    expected
                };
                assert_eq!(case.duty, Duty::Emulate(expected), "{engine:?} {access:x?}");
            }
        }
    }
}

/// All values of all fields but vector and destination, of which the borders, and of the reserved bits one.
fn commands() -> impl Iterator<Item = u64> {
    const DESTINATIONS: [u64; 5] = [0, 1, 0x0100_0000, 0xff00_0000, 0xffff_ffff];
    let lows = (0..1_u64 << 12).flat_map(|fields| [0, 1 << 25].map(|reserved| fields << 8 | reserved));
    let lows = lows.flat_map(|low| [0x00, 0x0f, 0x10, 0xff].map(|vector| low | vector));
    lows.flat_map(|low| DESTINATIONS.map(|destination| destination << 32 | low))
}

fn icr_write(mode: GuestMode, value: Option<u64>) -> RegisterAccess {
    RegisterAccess { mode, kind: AccessKind::Write, slot: RegisterSlot::of(ApicRegister::IcrLow), value }
}

#[test]
fn commands_of_a_class_fare_alike_on_every_engine() {
    for engine in ENGINES {
        for mode in MODES {
            let known = judge_access(engine, icr_write(mode, None));
            for value in commands() {
                let class = CommandClass::of(mode, value);
                let of_class = known.iter().filter(|case| case.commands.is_empty() || case.commands.contains(&class));
                let of_class: Vec<Case> = of_class.map(|case| Case { commands: Vec::new(), ..case.clone() }).collect();
                let mut found = judge_access(engine, icr_write(mode, Some(value)));
                if class == CommandClass::Reserved {
                    // Whether its vector is legal, too, is found out by whoever finishes it.
                    found.iter_mut().zip(&of_class).for_each(|(case, like)| case.duty = like.duty);
                }
                assert_eq!(found, of_class, "{engine:?} {value:#018x}");
            }
        }
    }
}

/// The tables of APIC virtualization and the judge of IPI virtualization are two; an answer agrees with both.
#[test]
fn commands_fare_as_the_tables_of_apic_virtualization_have_it() {
    for engine in [Engine::Software, Engine::Apicv, Engine::Posted, Engine::IpiVirtualization] {
        let assists = engine != Engine::Software;
        let controls = |mode| ApicvControls {
            tpr_shadow: true,
            accesses: mode == GuestMode::XApic,
            x2apic: mode == GuestMode::X2Apic,
            registers: assists,
            delivery: assists,
            ipis: engine == Engine::IpiVirtualization,
            ..ApicvControls::default()
        };
        let fate = |mode, value| judge_access(engine, icr_write(mode, Some(value)))[0].fate;
        for value in commands() {
            let by_page = match write_page(controls(GuestMode::XApic), 0x300, AccessWidth::Dword, Icr::from(value)) {
                PageWrite::AccessExit => Fate::Fault(Exit::ApicAccess(AccessKind::Write, 0x300)),
                PageWrite::Virtualized(AfterWrite::Exit(offset)) => Fate::Trap(Exit::ApicWrite(offset)),
                // No entry of a page's table has the number of the broadcast.
                PageWrite::Virtualized(AfterWrite::Ipi { target: 0xff, .. }) => Fate::Trap(Exit::ApicWrite(0x300)),
                PageWrite::Virtualized(_) => Fate::Completed,
            };
            assert_eq!(fate(GuestMode::XApic, value), by_page, "{engine:?} {value:#018x}");
            let by_msr = match write_msr(controls(GuestMode::X2Apic), 0x830, value) {
                MsrWrite::Physical => Fate::Fault(Exit::Wrmsr(0x830)),
                MsrWrite::Fault => Fate::GeneralProtection,
                MsrWrite::Virtualized(AfterWrite::Exit(offset)) => Fate::Trap(Exit::ApicWrite(offset)),
                MsrWrite::Virtualized(AfterWrite::Ipi { target: u32::MAX, .. }) => Fate::Trap(Exit::ApicWrite(0x300)),
                MsrWrite::Virtualized(_) => Fate::Completed,
            };
            // Whether a command to oneself by MSR is carried out, the manual leaves open; the answer takes it for an exit.
            if CommandClass::of(GuestMode::X2Apic, value) != CommandClass::Myself {
                assert_eq!(fate(GuestMode::X2Apic, value), by_msr, "{engine:?} {value:#018x}");
            }
        }
    }
}

#[test]
fn a_value_with_a_reserved_bit_faults_where_no_bitmap_stops_it() {
    for engine in ENGINES {
        for (register, value) in [
            (ApicRegister::TaskPriority, 0x100),
            (ApicRegister::Eoi, 1),
            (ApicRegister::SelfIpi, 0x151),
            (ApicRegister::IcrLow, 1 << 13),
        ] {
            let slot = RegisterSlot::of(register);
            let access = RegisterAccess { mode: GuestMode::X2Apic, kind: AccessKind::Write, slot, value: Some(value) };
            for case in judge_access(engine, access) {
                let is_fault = case.fate == Fate::GeneralProtection
                    || case.duty == Duty::Emulate(Emulation::GeneralProtection) && matches!(case.fate, Fate::Fault(_));
                assert!(is_fault, "{engine:?} {register}: {case:?}");
            }
        }
    }
}

#[test]
fn what_a_target_does_decides_on_each_engine_in_its_own_way() {
    let one = icr_write(GuestMode::X2Apic, Some(1 << 32 | 0x51));
    let fates = |engine| -> Vec<(When, bool)> {
        let cases = judge_access(engine, one).into_iter();
        cases.map(|case| (case.when, case.fate == Fate::Completed)).collect()
    };
    assert_eq!(fates(Engine::IpiVirtualization), [(When::TargetKnown, true), (When::TargetUnknown, false)]);
    let avic = [(When::TargetsRun, true), (When::TargetAway, false), (When::TargetUnknown, false)];
    assert_eq!(fates(AVIC), avic);
    let erratum = [(When::TargetKnown, false), (When::TargetUnknown, false)];
    assert_eq!(fates(Engine::Avic(DoorbellRinger::Hypervisor)), erratum);
}

#[test]
fn an_end_that_is_watched_and_a_priority_below_its_threshold_exit_afterwards() {
    let fates = |engine, register, mode| -> Vec<(When, Fate, Duty)> {
        let slot = RegisterSlot::of(register);
        let access = RegisterAccess { mode, kind: AccessKind::Write, slot, value: Some(0) };
        let cases = judge_access(engine, access).into_iter().filter(|case| case.maker != Some(Maker::Amd));
        cases.map(|case| (case.when, case.fate, case.duty)).collect()
    };
    let done = |when| (when, Fate::Completed, Duty::Nothing);
    for mode in MODES {
        for engine in [Engine::Apicv, Engine::Posted, Engine::IpiVirtualization] {
            let watched = (When::EoiWatched, Fate::Trap(Exit::VirtualizedEoi), Duty::TellEnd);
            assert_eq!(fates(engine, ApicRegister::Eoi, mode), [done(When::EoiUnwatched), watched]);
            assert_eq!(fates(engine, ApicRegister::TaskPriority, mode), [done(When::Always)]);
        }
        let exit = Exit::NoAcceleration(AccessKind::Write, 0x0b0);
        let level = (When::LevelEnds, Fate::Trap(exit), Duty::EndLevel);
        assert_eq!(fates(AVIC, ApicRegister::Eoi, mode), [done(When::EdgeEnds), level]);
        let below = (When::BelowThreshold, Fate::Trap(Exit::TprBelowThreshold), Duty::Reevaluate);
        let of_software = fates(Engine::Software, ApicRegister::TaskPriority, mode);
        assert_eq!(of_software, [done(When::ReachesThreshold), below]);
    }
}

#[test]
fn what_avic_cannot_finish_it_tells_by_the_manuals_numbers() {
    for mode in MODES {
        for (value, failure, duty) in [
            (0x0451, IpiFailure::InvalidType, Duty::Send(Notice::Doorbell)),
            (0x8051, IpiFailure::InvalidType, Duty::Send(Notice::Doorbell)),
            (0x000f, IpiFailure::InvalidVector, Duty::NoteIllegalVector),
        ] {
            for ringer in [DoorbellRinger::Processor, DoorbellRinger::Hypervisor] {
                let cases = judge_access(Engine::Avic(ringer), icr_write(mode, Some(value)));
                assert_eq!(cases.len(), 1, "{value:#x}");
                assert_eq!(cases[0].fate, Fate::Trap(Exit::IncompleteIpi(failure)), "{value:#x}");
                assert_eq!(cases[0].duty, duty, "{value:#x}");
            }
        }
        let one = judge_access(AVIC, icr_write(mode, Some(0x0100_0000_0000_0051)));
        let told: Vec<(Fate, Duty)> = one[1..].iter().map(|case| (case.fate, case.duty)).collect();
        let failed = |failure| Fate::Trap(Exit::IncompleteIpi(failure));
        let expected = [
            (failed(IpiFailure::TargetNotRunning), Duty::Wake),
            (failed(IpiFailure::InvalidTarget), Duty::Send(Notice::Doorbell)),
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn a_broadcast_exits_under_ipi_virtualization_and_not_under_avic() {
    for mode in MODES {
        for value in [0x000c_0051, 0x0008_0051, 0xffff_ffff_0000_0051] {
            let access = icr_write(mode, Some(value));
            let intel = judge_access(Engine::IpiVirtualization, access);
            assert_eq!(intel.len(), 1);
            assert_eq!(intel[0].fate, Fate::Trap(Exit::ApicWrite(0x300)), "{value:#x}");
            let amd = judge_access(AVIC, access);
            assert_eq!((amd[0].when, amd[0].fate), (When::TargetsRun, Fate::Completed), "{value:#x}");
        }
    }
}
