//! Aimed moves, on a Xen whose vectors follow the cursor.

mod promises;
mod recorded;
mod xen;

use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Goal;
use vector_allocator::Harms;
use vector_allocator::Owner;
use vector_allocator::Pinning;
use vector_allocator::Retarget;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::aim::Apply;
use vector_allocator::aim::Consent;
use vector_allocator::aim::Deed;
use vector_allocator::aim::Lever;
use vector_allocator::aim::Limits;
use vector_allocator::aim::Outcome;
use vector_allocator::aim::Refusal;
use vector_allocator::aim::Sight;
use vector_allocator::inversions;

use xen::GUEST;
use xen::Xen;
use xen::run;

const MSI: SourceKind = SourceKind::EdgeMaskable;

/// Everything stays on its CPU: only vectors may change.
const IN_PLACE: Goal = Goal {
    retarget: Retarget::Forbidden,
    mend: Harms::All,
    movers: vector_allocator::Movers::Anyone,
    pin: Pinning::Anyone,
};

fn on(cpu: u32) -> CpuSet {
    CpuSet::single(CpuId(cpu))
}

/// A card of a guest's and a disk of dom0's on pCPU 2, the card's vector above the disk's.
fn inverted() -> Xen {
    let mut xen = Xen::new(DestinationModel::Physical);
    xen.turn(9);
    xen.add(25, Owner::Dom0, MSI, &on(2));
    xen.add(26, GUEST, MSI, &on(2));
    assert!(xen.vector(26) > xen.vector(25));
    xen
}

fn apply(goal: Goal, xen: &Xen) -> Apply {
    Apply::new(goal, xen.movers.clone(), Consent::KeepTraffic, Limits::default())
}

#[test]
fn an_inversion_is_mended_in_place_and_every_move_after_the_probe_gets_the_predicted_vector() {
    let mut xen = inverted();
    let mut apply = apply(IN_PLACE, &xen);
    assert_eq!(run(&mut apply, &mut xen), Outcome::Mended, "{:#?}", apply.done());
    assert!(xen.vector(25) > xen.vector(26));
    for source in xen.host().sources {
        assert_eq!(source.target, on(2), "{}", source.label);
    }
    let (probe, aimed) = apply.done().split_first().expect("a probe");
    assert!(probe.task.expected.len() > 100, "nothing is known before it");
    assert!(!aimed.is_empty());
    for done in aimed {
        let expected: Vec<Vector> = done.task.expected.iter().collect();
        assert_eq!(expected, Vec::from_iter(done.got), "{}", done.task);
    }
}

#[test]
fn a_vector_that_is_taken_on_the_cpu_is_passed_over() {
    let mut xen = Xen::new(DestinationModel::Physical);
    xen.turn(3);
    for irq in 24..30 {
        xen.add(irq, GUEST, MSI, &on(2));
    }
    let host = xen.host();
    let [first, last] = [24, 29].map(|irq| Vector::new(xen.vector(irq)).expect("a vector"));
    let step =
        |vector: Vector, up: i16| Vector::try_from(u8::try_from(i16::from(vector.number()) + up).unwrap()).unwrap();
    let sight = Sight::on(&host.layout, step(first, -8));
    assert_eq!(Vec::from_iter(sight.predict(&host, CpuId(3)).iter()), [first]);
    assert_eq!(Vec::from_iter(sight.predict(&host, CpuId(2)).iter()), [step(last, 8)]);
}

#[test]
fn where_places_may_change_the_two_are_parted() {
    let mut xen = inverted();
    let mut apply = apply(Goal { pin: Pinning::Anyone, ..Goal::default() }, &xen);
    assert_eq!(run(&mut apply, &mut xen), Outcome::Mended, "{:#?}", apply.done());
    assert_eq!(inversions(&xen.host()).count(), 0);
    assert!(xen.deeds <= 2, "{:#?}", apply.done());
}

#[test]
fn a_lottery_is_ended_by_pins_before_anything_is_aimed() {
    let mut xen = Xen::new(DestinationModel::Physical);
    let all = CpuSet::first_n(xen::CPUS);
    xen.add(25, Owner::Dom0, MSI, &all);
    xen.add(26, GUEST, MSI, &all);
    let mut apply = apply(Goal { pin: Pinning::Anyone, ..Goal::default() }, &xen);
    assert_eq!(run(&mut apply, &mut xen), Outcome::Mended, "{:#?}", apply.done());
    assert_eq!(inversions(&xen.host()).count(), 0);
    assert!(matches!(apply.done()[0].task.deed, Deed::Keep { .. }), "{}", apply.done()[0].task);
}

#[test]
fn what_is_known_of_the_cursor_spares_the_probe_and_a_rehearsal_tells_what_will_be_done() {
    let mut xen = inverted();
    // The card's vector was the last one given out.
    let drawn = Vector::new(xen.vector(26)).expect("a vector");
    let mut apply = apply(IN_PLACE, &xen);
    let (tasks, outcome) = apply.rehearse(&xen.host(), drawn);
    assert_eq!((outcome, xen.deeds), (Outcome::Mended, 0));
    apply = apply.with_sight(Sight::on(&xen.host().layout, drawn));
    assert_eq!(run(&mut apply, &mut xen), Outcome::Mended);
    let done: Vec<_> = apply.done().iter().map(|done| done.task.clone()).collect();
    assert_eq!(done, tasks);
}

#[test]
fn moves_that_take_effect_late_are_waited_for() {
    let mut xen = inverted();
    xen.delay = 7;
    let mut apply = apply(IN_PLACE, &xen);
    assert_eq!(run(&mut apply, &mut xen), Outcome::Mended, "{:#?}", apply.done());
}

#[test]
fn a_rival_that_draws_all_the_time_ends_the_attempt_and_everything_goes_home() {
    let mut xen = inverted();
    let before = xen.host();
    xen.rival = 3;
    // So many in one stride that no walk ends before the misses do.
    for irq in 30..42 {
        xen.add(irq, GUEST, MSI, &on(2));
    }
    let origin = xen.host();
    let mut apply = apply(IN_PLACE, &xen);
    let outcome = run(&mut apply, &mut xen);
    assert!(matches!(outcome, Outcome::RolledBack { why: Refusal::Contended { .. }, .. }), "{outcome}");
    for (then, now) in origin.sources.iter().zip(xen.host().sources) {
        assert_eq!((&then.target, &then.reachable), (&now.target, &now.reachable), "{}", now.label);
    }
    assert_eq!(before.sources[0].target, on(2));
}

#[test]
fn a_source_that_does_not_fire_is_named() {
    let mut xen = inverted();
    xen.silent = vec![SourceId(25)];
    xen.movers.retain(|mover| mover.moves(SourceId(25)));
    let mut apply = apply(IN_PLACE, &xen);
    let outcome = run(&mut apply, &mut xen);
    assert!(
        matches!(outcome, Outcome::RolledBack { why: Refusal::Silent { irq: SourceId(25) }, more_harm: 0 }),
        "{outcome}"
    );
}

#[test]
fn what_no_lever_moves_is_refused_and_nothing_is_done() {
    let mut xen = inverted();
    xen.movers.clear();
    let mut apply = apply(IN_PLACE, &xen);
    let outcome = run(&mut apply, &mut xen);
    let Outcome::Refused(why @ Refusal::NoLever { irq: SourceId(26) }) = outcome else { panic!("{outcome}") };
    assert!(why.remedy().is_some_and(|remedy| remedy.contains("hypercall")));
    assert_eq!(xen.deeds, 0);
}

#[test]
fn with_logical_destinations_a_vector_survives_moves_and_only_attaching_again_draws() {
    let mut xen = Xen::new(DestinationModel::FLAT);
    xen.add(25, Owner::Dom0, MSI, &on(2));
    xen.add(26, GUEST, MSI, &on(2));
    xen.make_device(26);
    let movers = xen.movers.clone();
    // In place nothing but the device helps, and that was not allowed.
    let mut quiet = Apply::new(IN_PLACE, movers.clone(), Consent::KeepTraffic, Limits::default());
    let device = Lever::Device { source: SourceId(26) };
    assert_eq!(run(&mut quiet, &mut xen), Outcome::Refused(Refusal::NotAllowed { lever: device }));
    assert_eq!(xen.deeds, 0);
    // Elsewhere it keeps its vector.
    let mut parted = xen.clone();
    let mut apply = Apply::new(Goal::default(), movers.clone(), Consent::KeepTraffic, Limits::default());
    assert_eq!(run(&mut apply, &mut parted), Outcome::Mended, "{:#?}", apply.done());
    assert_eq!((parted.vector(25), parted.vector(26)), (xen.vector(25), xen.vector(26)));
    // With leave to interrupt its traffic, it is attached until its vector is below.
    let mut apply = Apply::new(IN_PLACE, movers, Consent::InterruptTraffic, Limits::default());
    assert_eq!(run(&mut apply, &mut xen), Outcome::Mended, "{:#?}", apply.done());
    assert!(xen.vector(26) < xen.vector(25));
}

#[test]
fn giving_up_takes_back_what_was_done() {
    let mut xen = inverted();
    let origin = xen.host();
    let mut apply = apply(IN_PLACE, &xen);
    let Ok(_) = apply.step(&mut xen);
    assert_eq!(xen.deeds, 1);
    apply.give_up();
    let outcome = run(&mut apply, &mut xen);
    assert_eq!(outcome, Outcome::RolledBack { why: Refusal::GivenUp, more_harm: 0 });
    for (then, now) in origin.sources.iter().zip(xen.host().sources) {
        assert_eq!((&then.target, &then.reachable), (&now.target, &now.reachable));
    }
}

#[test]
fn what_does_not_fire_is_not_waited_for_and_what_no_plan_mends_is_left_to_stand() {
    let mut xen = inverted();
    // A second interrupt of the card's, which never fires: it follows the same vCPU.
    xen.add(27, GUEST, MSI, &on(2));
    xen.silent = vec![SourceId(27)];
    xen.movers.retain(|mover| !mover.moves(SourceId(27)));
    let card = xen.movers.iter_mut().find(|mover| mover.moves(SourceId(26))).expect("the card's lever");
    card.silent = vec![SourceId(27)];
    xen.fix(27);
    assert!(xen.vector(27) > xen.vector(25));
    // The disk stays where it is, so the silent interrupt will outrank it whatever becomes of the other.
    xen.movers.retain(|mover| mover.moves(SourceId(26)));
    let goal = Goal { movers: vector_allocator::Movers::GuestsOnly, ..IN_PLACE };
    let mut apply = apply(goal, &xen);
    assert_eq!(run(&mut apply, &mut xen), Outcome::Mended, "{:#?}", apply.done());
    assert_eq!(apply.beyond(), 1);
    assert!(xen.vector(26) < xen.vector(25));
    assert_eq!(inversions(&xen.host()).count(), 1);
    for done in &apply.done()[1..] {
        let expected: Vec<Vector> = done.task.expected.iter().collect();
        assert_eq!(expected, Vec::from_iter(done.got), "what does not fire does not draw: {}", done.task);
    }
}

#[test]
fn a_lever_that_moves_two_waits_for_both_and_tells_both_vectors() {
    let mut xen = inverted();
    xen.add(27, GUEST, MSI, &on(2));
    let both = vec![SourceId(26), SourceId(27)];
    xen.movers.retain(|mover| mover.moves(SourceId(26)));
    let card = xen.movers.iter_mut().find(|mover| mover.moves(SourceId(26))).expect("the card's lever");
    card.sources.clone_from(&both);
    let mut together = apply(IN_PLACE, &xen);
    let mut late = xen.clone();
    assert_eq!(run(&mut together, &mut xen), Outcome::Mended, "{:#?}", together.done());
    let moved = |done: &&vector_allocator::aim::Done| matches!(done.task.deed.lever(), Lever::Vcpu { .. });
    let known = together.done().iter().skip(1).filter(moved);
    assert!(known.clone().count() > 0 && known.clone().all(|done| done.task.expected.len() == 2));
    // If the second never arrives it is named, though the first did.
    late.silent = vec![SourceId(27)];
    let outcome = run(&mut apply(IN_PLACE, &late), &mut late);
    assert!(matches!(outcome, Outcome::RolledBack { why: Refusal::Silent { irq: SourceId(27) }, .. }), "{outcome}");
}
