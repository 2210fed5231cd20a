//! The same guest under every engine: what it sees is what it sees under the software engine.

mod ops;

use carillon_delivery_tests::Act;
use carillon_delivery_tests::EngineKind;
use carillon_delivery_tests::Op;
use carillon_delivery_tests::Seen;
use carillon_delivery_tests::World;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::engine::ApicvLevel;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;
use proptest::test_runner::Config as ProptestConfig;

use ops::bring_up;
use ops::ops;

/// How many vCPUs the guest has.
const VCPUS: usize = 3;

/// How many guests there are: what two engines do differently may take three of them and several changes.
const CASES: u32 = 1000;

/// The world after these steps.
fn after(engines: [EngineKind; VCPUS], steps: &[Op]) -> World {
    let mut world = World::new(&engines);
    for step in steps {
        world.step(*step);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_engine_shows_the_guest_what_software_shows(xapic in any::<bool>(), steps in vec(ops(VCPUS), 0..80)) {
        let steps: Vec<Op> = bring_up(VCPUS, xapic).into_iter().chain(steps).collect();
        let software = after([EngineKind::Software; VCPUS], &steps);
        for kind in EngineKind::ALL {
            let other = after([kind; VCPUS], &steps);
            assert_eq!(other.seen(), software.seen(), "{kind:?}");
        }
    }
}

/// How many exits it takes to send a vector to another vCPU that runs, and to end it there.
fn exits_of_an_ipi(kind: EngineKind) -> usize {
    let mut world = after([kind; VCPUS], &bring_up(VCPUS, false));
    let before = world.exits();
    world.step(Op::On(0, Act::Write(ApicRegister::IcrLow, 1 << 32 | 0x52)));
    world.step(Op::On(1, Act::Write(ApicRegister::Eoi, 0)));
    assert_eq!(world.seen()[1].iter().filter(|seen| matches!(seen, Seen::Took(_))).count(), 1, "{kind:?}");
    world.exits() - before
}

#[test]
fn an_ipi_exits_as_often_as_the_engine_says() {
    for (kind, exits) in [
        // The sender, the receiver that is kicked, and the end.
        (EngineKind::Software, 3),
        (EngineKind::Apicv(ApicvLevel::Registers), 3),
        (EngineKind::Apicv(ApicvLevel::Delivery), 2),
        (EngineKind::Apicv(ApicvLevel::Posting), 1),
        (EngineKind::Apicv(ApicvLevel::Ipis), 0),
        (EngineKind::Avic(Mode::X2Avic), 0),
    ] {
        assert_eq!(exits_of_an_ipi(kind), exits, "{kind:?}");
    }
}

#[test]
fn vcpus_of_different_engines_reach_each_other() {
    let mut world = after(
        [EngineKind::Software, EngineKind::Apicv(ApicvLevel::Delivery), EngineKind::Apicv(ApicvLevel::Ipis)],
        &bring_up(VCPUS, false),
    );
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
        let before = world.seen()[to].len();
        world.step(Op::On(from, Act::Write(ApicRegister::IcrLow, (to as u64) << 32 | 0x52)));
        world.step(Op::On(to, Act::Write(ApicRegister::Eoi, 0)));
        assert!(matches!(world.seen()[to][before..], [Seen::Took(_), Seen::Wrote]), "from {from} to {to}");
    }
}

/// SELF IPI is no ICR: a number that is no vector is noted as an error and changes nothing else.
#[test]
fn an_illegal_self_ipi_leaves_icr_alone() {
    let steps = [
        Op::On(0, Act::Write(ApicRegister::SelfIpi, 2)),
        Op::On(0, Act::Read(ApicRegister::IcrLow)),
        Op::On(0, Act::Write(ApicRegister::ErrorStatus, 0)),
        Op::On(0, Act::Read(ApicRegister::ErrorStatus)),
    ];
    for kind in EngineKind::ALL {
        let steps: Vec<Op> = bring_up(VCPUS, false).into_iter().chain(steps).collect();
        let world = after([kind; VCPUS], &steps);
        // Errors 5 and 6: an illegal vector was sent, and received.
        let expected = [Seen::Wrote, Seen::Read(Some(0)), Seen::Wrote, Seen::Read(Some(0x60))];
        assert!(world.seen()[0].ends_with(&expected), "{kind:?}: {:?}", world.seen()[0]);
    }
}
