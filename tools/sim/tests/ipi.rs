//! The IPI microbenchmark: what the engines' decisions come to.

use carillon_sim::ipi::Bench;
use carillon_sim::ipi::BenchError;
use carillon_sim::ipi::Contender;
use carillon_sim::ipi::Fit;
use carillon_sim::ipi::Measured;
use carillon_sim::ipi::Mode;
use carillon_sim::ipi::Sending;
use carillon_sim::ipi::Step;
use hypervisor_lib::delivery::GuestMode;

const APICS: [GuestMode; 2] = [GuestMode::XApic, GuestMode::X2Apic];

fn contender(name: &str) -> Contender {
    Contender::by_name(name).expect("a contender")
}

fn bench<'a>(fit: &'a Fit, name: &str, apic: GuestMode, sending: Sending) -> Bench<'a> {
    Bench { fit, contender: contender(name), apic, vcpus: 8, turns: 2000, sending, seed: 1 }
}

fn run(name: &str, apic: GuestMode, sending: Sending, mode: Mode) -> Measured {
    let fit = Fit::published().expect("costs");
    bench(&fit, name, apic, sending).run(mode).expect("a run")
}

#[test]
fn every_contender_runs_every_mode_and_loses_nothing() {
    let fit = Fit::published().expect("costs");
    for contender in Contender::ALL {
        for apic in APICS {
            for sending in [Sending::Shorthand, Sending::Each] {
                for mode in Mode::ALL {
                    let bench = bench(&fit, contender.name(), apic, sending);
                    let measured = bench.run(mode).expect("a run");
                    assert_eq!((measured.lost, measured.turns), (0, 2000), "{contender:?} {mode:?}");
                    assert!(measured.cdf.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1));
                    assert_eq!(measured.cdf.last(), Some(&(measured.max, 1.0)));
                    assert!(measured.p50 <= measured.p99 && measured.p99 <= measured.max);
                }
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_for_ever_and_another_another() {
    let fit = Fit::published().expect("costs");
    let bench = bench(&fit, "ipiv", GuestMode::X2Apic, Sending::Shorthand);
    let first = bench.run(Mode::Broadcast).expect("a run");
    assert_eq!(bench.run(Mode::Broadcast), Ok(first.clone()));
    assert_ne!(Bench { seed: 2, ..bench }.run(Mode::Broadcast), Ok(first));
}

#[test]
fn a_normal_ipi_takes_what_its_steps_add_up_to() {
    let fit = Fit::published().expect("costs");
    for contender in Contender::ALL {
        for apic in APICS {
            let bench = bench(&fit, contender.name(), apic, Sending::Shorthand);
            let measured = bench.run(Mode::Normal).expect("a run");
            let expected = fit.unicast(contender, apic) + fit.costs.get(Step::Turn);
            let error = (measured.mean - expected).abs() / expected;
            assert!(error < 0.005, "{contender:?} {apic:?}: {} for {expected}", measured.mean);
        }
    }
}

#[test]
fn hardware_wins_with_one_target_and_gains_nothing_on_shorthands() {
    for apic in APICS {
        let mean = |name, mode| run(name, apic, Sending::Shorthand, mode).mean;
        assert!(mean("ipiv", Mode::Normal) < 0.9 * mean("posted-fast-path", Mode::Normal), "{apic:?}");
        let (ipiv, posted) = (mean("ipiv", Mode::Broadcast), mean("posted", Mode::Broadcast));
        assert!((ipiv - posted).abs() < 0.01 * posted, "{apic:?}: {ipiv} {posted}");
        assert!(mean("avic", Mode::Broadcast) < 0.9 * ipiv, "{apic:?}");
    }
}

#[test]
fn who_exits_how_often_follows_from_how_the_guest_sends() {
    for (name, shorthand, each) in [
        ("software", 1.0, 7.0),
        ("apicv", 1.0, 7.0),
        ("posted-fast-path", 1.0, 7.0),
        ("ipiv", 1.0, 0.0),
        ("avic", 0.0, 0.0),
        ("avic-erratum-1235", 1.0, 7.0),
    ] {
        for apic in APICS {
            let exits = |sending| run(name, apic, sending, Mode::Broadcast).sender_exits;
            assert_eq!((exits(Sending::Shorthand), exits(Sending::Each)), (shorthand, each), "{name} {apic:?}");
        }
    }
}

#[test]
fn targets_exit_to_be_told_without_posting_and_to_end_without_apicv() {
    for (name, expected) in [("software", 2.0), ("apicv", 1.0), ("posted", 0.0), ("ipiv", 0.0), ("avic", 0.0)] {
        let normal = run(name, GuestMode::X2Apic, Sending::Shorthand, Mode::Normal);
        assert_eq!(normal.target_exits, expected, "{name}");
    }
}

#[test]
fn the_lock_makes_the_handlers_wait_for_each_other() {
    let fit = Fit::published().expect("costs");
    let bench = bench(&fit, "avic", GuestMode::X2Apic, Sending::Shorthand);
    let cost = |vcpus, mode| Bench { vcpus, ..bench }.run(mode).expect("a run").mean;
    let added = |vcpus| cost(vcpus, Mode::BroadcastLock) - cost(vcpus, Mode::Broadcast);
    let lock = fit.costs.get(Step::Lock);
    assert!(added(2) >= 0.9 * lock && added(2) <= 1.1 * lock, "{}", added(2));
    assert!(cost(64, Mode::BroadcastLock) >= 63.0 * lock);
    assert!(added(64) > added(8) && added(8) > added(2));
}

#[test]
fn a_dry_run_costs_a_turn_and_an_ipi_to_oneself_no_flight() {
    let fit = Fit::published().expect("costs");
    for contender in Contender::ALL {
        let bench = bench(&fit, contender.name(), GuestMode::X2Apic, Sending::Shorthand);
        let dry = bench.run(Mode::DryRun).expect("a run");
        assert_eq!((dry.p50, dry.max, dry.sender_exits), (8, 8, 0.0));
        let (own, other) = (bench.run(Mode::SelfIpi).expect("a run"), bench.run(Mode::Normal).expect("a run"));
        assert!(own.mean + 0.8 * fit.costs.get(Step::Flight) < other.mean, "{contender:?}");
    }
}

#[test]
fn a_run_that_cannot_be_says_why() {
    let fit = Fit::published().expect("costs");
    let bench = bench(&fit, "ipiv", GuestMode::XApic, Sending::Shorthand);
    let with = |vcpus, turns| Bench { vcpus, turns, ..bench }.run(Mode::Normal).map(|_| ());
    assert_eq!(with(1, 10), Err(BenchError::Vcpus { vcpus: 1, most: 255 }));
    assert_eq!(with(256, 10), Err(BenchError::Vcpus { vcpus: 256, most: 255 }));
    assert_eq!(with(2, 0), Err(BenchError::Turns { turns: 0, vcpus: 2 }));
    assert_eq!(with(255, u32::MAX), Err(BenchError::Turns { turns: u32::MAX, vcpus: 255 }));
    assert_eq!(with(255, 1), Ok(()));
}
