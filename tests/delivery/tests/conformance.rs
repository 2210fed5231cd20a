//! The same guest under every engine: what it sees is what it sees under the software engine.

mod ops;

use carillon_delivery_tests::EngineKind;
use carillon_delivery_tests::Op;
use carillon_delivery_tests::World;
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
