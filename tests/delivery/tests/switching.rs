//! A vCPU goes from one engine to another, while it runs or on its way to another host: nothing is lost, and the guest sees
//! nothing of it.

mod ops;

use carillon_delivery_tests::Act;
use carillon_delivery_tests::EngineKind;
use carillon_delivery_tests::Op;
use carillon_delivery_tests::Source;
use carillon_delivery_tests::World;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::engine::ApicvLevel;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use proptest::sample::select;
use proptest::test_runner::Config as ProptestConfig;

use ops::bring_up;
use ops::ops;

const VCPUS: usize = 3;

/// How many guests there are: what two engines do differently may take three of them and several changes.
const CASES: u32 = 1000;

/// A step, or a vCPU's change of engine.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Step(Op),
    Switch(usize, EngineKind),
}

/// The engines of one processor: those of Intel's, or of AMD's in one mode, and software everywhere.
#[derive(Clone, Copy, Debug)]
enum Maker {
    Intel,
    Amd(Mode),
}

impl Maker {
    fn engines(self) -> Vec<EngineKind> {
        let is_its = |kind: &EngineKind| match (self, kind) {
            (_, EngineKind::Software) | (Self::Intel, EngineKind::Apicv(_)) => true,
            (Self::Amd(mode), EngineKind::Avic(other)) => mode == *other,
            _ => false,
        };
        EngineKind::ALL.into_iter().filter(is_its).collect()
    }

    /// The engine that domains begin with, so that the tables are there.
    fn first(self) -> EngineKind {
        match self {
            Self::Intel => EngineKind::Apicv(ApicvLevel::Ipis),
            Self::Amd(mode) => EngineKind::Avic(mode),
        }
    }
}

fn makers() -> impl Strategy<Value = Maker> {
    prop_oneof![2 => Just(Maker::Intel), 1 => Just(Maker::Amd(Mode::XAvic)), 1 => Just(Maker::Amd(Mode::X2Avic))]
}

fn turns(maker: Maker) -> impl Strategy<Value = Vec<Turn>> {
    let switch = (0..VCPUS, select(maker.engines())).prop_map(|(vcpu, kind)| Turn::Switch(vcpu, kind));
    vec(prop_oneof![5 => ops(VCPUS).prop_map(Turn::Step), 1 => switch], 0..80)
}

fn run(world: &mut World, steps: &[Op]) {
    for step in steps {
        world.step(*step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_guest_sees_nothing_of_its_vcpus_changes_of_engine(
        xapic in any::<bool>(),
        (maker, turns) in makers().prop_flat_map(|maker| (Just(maker), turns(maker))),
    ) {
        let mut software = World::new(&[EngineKind::Software; VCPUS]);
        let mut other = World::new(&[maker.first(); VCPUS]);
        for world in [&mut software, &mut other] {
            run(world, &bring_up(VCPUS, xapic));
        }
        for turn in turns {
            match turn {
                Turn::Step(step) => [&mut software, &mut other].into_iter().for_each(|world| world.step(step)),
                Turn::Switch(vcpu, kind) => other.switch(vcpu, kind),
            }
        }
        assert_eq!(other.seen(), software.seen(), "{maker:?}");
    }

    #[test]
    fn a_guest_sees_nothing_of_its_migration_to_any_engine(
        xapic in any::<bool>(),
        first in vec(ops(VCPUS), 0..40),
        legs in vec((select(EngineKind::ALL.to_vec()), vec(ops(VCPUS), 0..20)), 1..4),
    ) {
        let mut software = World::new(&[EngineKind::Software; VCPUS]);
        let mut other = World::new(&[EngineKind::Apicv(ApicvLevel::Posting); VCPUS]);
        for world in [&mut software, &mut other] {
            run(world, &bring_up(VCPUS, xapic));
            run(world, &first);
        }
        for (kind, steps) in legs {
            other = other.migrate(&[kind; VCPUS]);
            software = software.migrate(&[EngineKind::Software; VCPUS]);
            run(&mut software, &steps);
            run(&mut other, &steps);
            assert_eq!(other.seen(), software.seen(), "to {kind:?}");
        }
    }
}

fn send(vector: u8) -> Op {
    Op::Send(Source { destination: Destination::Physical(0), delivery: DeliveryMode::Fixed, vector })
}

/// A vector in service, one waiting behind it, one staged while interrupts were disabled.
fn busy(kind: EngineKind) -> World {
    let mut world = World::new(&[kind]);
    run(&mut world, &bring_up(1, false));
    run(&mut world, &[send(0x61), Op::On(0, Act::DisableInterrupts), send(0x42), send(0x93)]);
    world
}

/// What the guest takes from then on, ending each.
fn rest(mut world: World) -> Vec<carillon_delivery_tests::Seen> {
    let before = world.seen()[0].len();
    let end = Op::On(0, Act::Write(ApicRegister::Eoi, 0));
    run(&mut world, &[Op::On(0, Act::EnableInterrupts), end, end, end]);
    world.seen()[0][before..].to_vec()
}

#[test]
fn what_waits_and_what_is_in_service_goes_from_apicv_over_avic_to_software() {
    let way = [EngineKind::Avic(Mode::X2Avic), EngineKind::Software];
    let expected = rest(busy(EngineKind::Software));
    let mut world = busy(EngineKind::Apicv(ApicvLevel::Posting));
    for kind in way {
        world = world.migrate(&[kind]);
    }
    assert_eq!(rest(world), expected);
}

#[test]
fn what_the_page_showed_for_reading_alone_is_not_delivered_again() {
    let mut world = World::new(&[EngineKind::Apicv(ApicvLevel::Registers)]);
    run(&mut world, &bring_up(1, false));
    run(&mut world, &[Op::On(0, Act::DisableInterrupts), send(0x62), Op::On(0, Act::EnableInterrupts)]);
    run(&mut world, &[Op::On(0, Act::Write(ApicRegister::Eoi, 0))]);
    let before = world.seen()[0].len();
    world.switch(0, EngineKind::Apicv(ApicvLevel::Delivery));
    assert_eq!(world.seen()[0].len(), before);
}

/// R-77, the engine's side: a domain whose AVIC is inhibited and allowed again goes on with what waits.
#[test]
fn r77_an_inhibited_vcpu_takes_what_waits_in_its_page() {
    let expected = rest(busy(EngineKind::Software));
    let mut world = busy(EngineKind::Avic(Mode::X2Avic));
    world.switch(0, EngineKind::Software);
    world.switch(0, EngineKind::Avic(Mode::X2Avic));
    assert_eq!(rest(world), expected);
}
