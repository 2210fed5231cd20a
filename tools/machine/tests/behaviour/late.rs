//! Late EOIs: a port is masked until its handler is done, and longer in a storm (XSA-332).

use carillon_machine::DomainKind;
use carillon_machine::EoiMode;
use carillon_machine::EventAbi;
use carillon_machine::ExitCause;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::VcpuLoad;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;

const HANDLER: u64 = 20 * MICROSECOND;
/// How long a round of upcalls lasts before it counts as a storm, and how long its events then are put off: guest-shim's
/// defaults.
const STORM: u64 = 8 * MILLISECOND;
const DELAY: u64 = 40 * MILLISECOND;
/// The device whose physical IRQ ends early.
const DEVICE: u32 = 2;

const KINDS: [DomainKind; 2] = [DomainKind::Pv, DomainKind::Hvm];
const ABIS: [EventAbi; 2] = [EventAbi::Fifo, EventAbi::TwoLevel];

/// A guest's vCPU on CPU 1 with software events 0 and 1 and a device.
fn host(kind: DomainKind, event_abi: EventAbi, software_eoi: EoiMode) -> MachineConfig {
    let mut guest = domain(1, kind, VcpuLoad::Idle, &[1]);
    (guest.event_abi, guest.software_eoi) = (event_abi, software_eoi);
    let device = event(42, SourceKind::EdgeMaskable, 0x48, 0, to(1, 0), HANDLER);
    let path = Path::EventChannel { to: to(1, 0), handler: Span(HANDLER), priority: FifoPriority::DEFAULT };
    let software =
        |id| SourceConfig { vector: None, path, ..event(id, SourceKind::EdgeMaskable, 0x48, 0, to(1, 0), 0) };
    MachineConfig { domains: vec![guest], sources: vec![software(40), software(41), device], ..empty(2) }
}

/// For so long, each of the two software events every 30 µs: more than the handlers manage.
fn flood(run: &mut Run, from: u64, to: u64) {
    for at in (from..to).step_by(30_000) {
        run.raise(at, 0);
        run.raise(at + 15 * MICROSECOND, 1);
    }
}

fn entered(run: &Run) -> Vec<u64> {
    run.times(|fact| matches!(fact, Fact::HandlerEntered { source, .. } if source.0 < DEVICE))
}

/// The events put off, each with when it ended and until when it waits.
fn delays(run: &Run) -> Vec<(SourceIndex, u64, u64)> {
    let delay = |(at, fact): &(Time, Fact)| match fact {
        Fact::EoiDelayed { source, until } => Some((*source, at.0, until.0)),
        _ => None,
    };
    run.driver.facts.iter().filter_map(delay).collect()
}

#[test]
fn an_event_that_comes_while_a_late_ones_handler_runs_is_asked_for_by_hypercall() {
    for kind in KINDS {
        for abi in ABIS {
            for (eoi, exits, kicks) in [(EoiMode::Early, 0, 2), (EoiMode::Late, 1, 2)] {
                let mut run = Run::new(&host(kind, abi, eoi));
                run.raise(MILLISECOND, 0);
                run.until(MILLISECOND + HANDLER / 2);
                run.raise(MILLISECOND + HANDLER / 2, 0);
                run.until(2 * MILLISECOND);
                let asked = run.count(|fact| matches!(fact, Fact::Exit { cause: ExitCause::Eoi, .. }));
                assert_eq!((run.completed(0).len(), asked), (2, exits), "{kind:?}, {abi:?}, {eoi:?}");
                let counts = run.machine.event_domains().next().unwrap();
                assert_eq!((counts.sent, counts.coalesced, counts.kicks), (2, 0, kicks), "{kind:?}, {abi:?}, {eoi:?}");
                assert_eq!((counts.upcalls, counts.delayed), (1, 0), "{kind:?}, {abi:?}, {eoi:?}");
            }
        }
    }
}

#[test]
fn a_flood_of_late_events_is_put_off_after_8_ms_for_40_ms_and_one_of_early_events_never_ends() {
    for kind in KINDS {
        for abi in ABIS {
            let run_of = |eoi| {
                let mut run = Run::new(&host(kind, abi, eoi));
                flood(&mut run, MILLISECOND, 53 * MILLISECOND);
                run
            };
            let (early, late) = (run_of(EoiMode::Early), run_of(EoiMode::Late));
            assert_eq!(delays(&early), []);
            let gap = entered(&early).windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(gap < 2 * HANDLER, "{kind:?}, {abi:?}: the vCPU rested for {gap} ns in a flood of early events");

            let delays = delays(&late);
            let counts = late.machine.event_domains().next().unwrap();
            assert_eq!((delays.len(), counts.delayed), (2, 2), "{kind:?}, {abi:?}: each port once a storm");
            assert_ne!(delays[0].0, delays[1].0);
            let (first, last) = (entered(&late)[0], delays[1].1);
            assert!((STORM..STORM + 4 * HANDLER).contains(&(last - first)), "{kind:?}, {abi:?}: {first} to {last}");
            for (source, ended, until) in &delays {
                // From the upcall's turn that took it, before its handler.
                assert!((DELAY - 2 * HANDLER..DELAY).contains(&(until - ended)), "{kind:?}, {abi:?}, {source:?}");
            }
            let again = entered(&late).into_iter().find(|at| *at > last).unwrap();
            assert!(again >= delays[0].2, "{kind:?}, {abi:?}: handled at {again}, put off until {}", delays[0].2);
            assert!(again < delays[0].2 + HANDLER, "{kind:?}, {abi:?}: what waited comes at once");
        }
    }
}

#[test]
fn a_device_of_the_guest_is_served_while_a_flood_is_put_off() {
    for kind in KINDS {
        for abi in ABIS {
            let mut run = Run::new(&host(kind, abi, EoiMode::Late));
            flood(&mut run, MILLISECOND, 30 * MILLISECOND);
            run.raise(30 * MILLISECOND, DEVICE);
            run.until(31 * MILLISECOND);
            let served = run.completed(DEVICE);
            assert_eq!(served.len(), 1, "{kind:?}, {abi:?}");
            assert!(served[0] < 30 * MILLISECOND + 2 * HANDLER, "{kind:?}, {abi:?}: at {}", served[0]);
        }
    }
}

#[test]
fn what_waits_behind_a_delayed_eoi_is_taken_once_and_nothing_is_lost() {
    for kind in KINDS {
        for abi in ABIS {
            let mut run = Run::new(&host(kind, abi, EoiMode::Late));
            flood(&mut run, MILLISECOND, 20 * MILLISECOND);
            assert!(!delays(&run).is_empty());
            run.until(200 * MILLISECOND);
            for source in [0, 1] {
                let raised = run.count(|fact| *fact == Fact::Raised { source: SourceIndex(source) });
                let merged = run.count(|fact| *fact == Fact::Coalesced { source: SourceIndex(source) });
                assert_eq!(raised, merged + run.completed(source).len(), "{kind:?}, {abi:?}, source {source}");
                let (_, _, until) = delays(&run).into_iter().find(|delay| delay.0 == SourceIndex(source)).unwrap();
                let late = run.completed(source).into_iter().filter(|at| *at > until).count();
                assert_eq!(late, 1, "{kind:?}, {abi:?}, source {source}: what came meanwhile is one event");
            }
        }
    }
}
