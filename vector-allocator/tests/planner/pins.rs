//! Physical destinations, where a move draws a new vector, and sources that cannot be mended where they are.

use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::Change;
use vector_allocator::CpuSet;
use vector_allocator::CustomLayout;
use vector_allocator::DestinationModel;
use vector_allocator::Goal;
use vector_allocator::InversionKind;
use vector_allocator::Mobility;
use vector_allocator::Movers;
use vector_allocator::Optimality;
use vector_allocator::Owner;
use vector_allocator::Pinning;
use vector_allocator::Retarget;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;
use vector_allocator::When;
use vector_allocator::inversions;
use vector_allocator::plan;

use crate::hosts::GUEST;
use crate::hosts::cpus;
use crate::hosts::nic;
use crate::hosts::source;
use crate::hosts::vector;

const EDGE: SourceKind = SourceKind::EdgeMaskable;

fn physical(sources: Vec<AssignedSource>) -> Assignment {
    Assignment { model: DestinationModel::Physical, sources, ..nic() }
}

fn roaming(source: AssignedSource) -> AssignedSource {
    AssignedSource { reachable: CpuSet::first_n(4), ..source }
}

fn fixed(source: AssignedSource) -> AssignedSource {
    AssignedSource { mobility: Mobility::Fixed("its driver keeps it".into()), ..source }
}

#[test]
fn a_roaming_guest_among_pinned_sources_of_dom0s_is_mended_by_one_pin() {
    let dom0 = (0..4).map(|cpu| source(cpu, Owner::Dom0, EDGE, 0x90, &[cpu]));
    let host = physical(dom0.chain([roaming(source(9, GUEST, EDGE, 0x40, &[2]))]).collect());
    assert_eq!(inversions(&host).count(), 4);
    let plan = plan(&host, &Goal::default());
    assert_eq!((plan.moves.len(), plan.optimality), (1, Optimality::Proven));
    let Change::Pin { to, .. } = &plan.moves[0].change else { panic!("{}", plan.moves[0]) };
    assert_eq!(*to, cpus(&[2]));
    assert_eq!(plan.moves[0].mends.len(), 4);
    assert_eq!(plan.moves[0].steps()[0].to_string(), "restrict to {2}");
    assert_eq!(inversions(&plan.apply(&host)).count(), 0);
}

#[test]
fn where_both_sides_roam_it_takes_pins_on_both_and_the_goal_must_allow_them() {
    // As the recording with physical destinations: dom0's SAS at E9 and the guest's NIC at 92 on CPU 2.
    let host = physical(vec![
        roaming(source(25, Owner::Dom0, EDGE, 0xe9, &[2])),
        roaming(source(26, GUEST, EDGE, 0x92, &[2])),
    ]);
    let left = plan(&host, &Goal::default());
    assert!(left.moves.is_empty());
    let reasons: Vec<String> = left.remaining[0].because.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "IRQ 26 holds 92 on {2} and draws another elsewhere in {0-3}: keep it to {2}",
            "IRQ 25 holds E9 on {2} and draws another elsewhere in {0-3}: keep it to {2}",
        ]
    );
    let done = plan(&host, &Goal { pin: Pinning::Anyone, ..Goal::default() });
    assert_eq!((done.moves.len(), done.remaining.len()), (2, 0));
    assert_eq!(inversions(&done.apply(&host)).count(), 0);
}

/// As IRQs 8 and 9 of the recorded host with an INTx guest: bound when CPU 0 alone was online, they hold their vectors
/// there, and a move is pending (status 030) that will make them draw.
#[test]
fn sources_left_behind_at_boot_are_moved_to_vectors_that_they_keep_wherever_they_go() {
    let at_boot =
        |id, number| AssignedSource { holders: cpus(&[0]), ..roaming(source(id, Owner::Dom0, EDGE, number, &[0])) };
    let line = AssignedSource { holders: CpuSet::first_n(4), ..source(23, GUEST, SourceKind::Level, 0xd0, &[3]) };
    // Free on CPU 0 and taken elsewhere.
    let other = source(40, Owner::System, EDGE, 0xef, &[2]);
    let host = Assignment { sources: vec![at_boot(8, 0x60), at_boot(9, 0x68), roaming(line), other], ..nic() };
    let drawn = |host: &Assignment| {
        inversions(host).filter(|i| i.kind == InversionKind::Possible(vector_allocator::Chance::VectorDrawn)).count()
    };
    assert_eq!(drawn(&host), 2);
    let plan = plan(&host, &Goal::default());
    assert_eq!(plan.remaining, []);
    assert_eq!(plan.optimality, Optimality::Proven);
    let moved: Vec<u32> = plan.moves.iter().map(|step| step.source.0).collect();
    assert_eq!(moved, [8, 9]);
    for step in &plan.moves {
        let Change::Revector { to, .. } = &step.change else { panic!("{step}") };
        assert_eq!((to.holders.clone(), to.vector == vector(0xef)), (CpuSet::first_n(4), false));
        assert!(step.mends.iter().any(|mended| mended.against == SourceId(23)), "{step}");
    }
    assert_eq!(inversions(&plan.apply(&host)).count(), 0);
    let spared = vector_allocator::plan(&host, &Goal { movers: Movers::GuestsOnly, ..Goal::default() });
    assert!(spared.moves.is_empty());
    let reasons: Vec<String> = spared.remaining[0].because.iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["IRQ 8 holds 60 on {0} and draws another elsewhere in {0-3}: keep it to {0}"]);
    // Who may be pinned is not asked of `movers`.
    let kept =
        vector_allocator::plan(&host, &Goal { movers: Movers::GuestsOnly, pin: Pinning::Anyone, ..Goal::default() });
    assert_eq!(kept.remaining.iter().filter(|left| left.dom0.contains(&SourceId(8))).count(), 0);
    let pinned: Vec<(u32, String)> = kept
        .moves
        .iter()
        .filter_map(|step| match &step.change {
            Change::Pin { to, target, .. } => Some((step.source.0, format!("{to} {target}"))),
            Change::Revector { .. } => None,
        })
        .collect();
    assert_eq!(pinned, [(8, "{0} {0}".to_owned()), (9, "{0} {0}".to_owned())]);
    assert_eq!(drawn(&kept.apply(&host)), 0);
}

/// Both sides draw, and only dom0's finds a vector that is free everywhere: moving it alone would end nothing.
#[test]
fn a_move_that_would_end_no_lottery_is_not_made() {
    let leasable = [0x50, 0x51, 0x60].into_iter().map(vector).collect();
    let layout = CustomLayout {
        boot_cpu: leasable,
        other_cpus: leasable,
        notification: VectorSet::EMPTY,
        system: VectorSet::EMPTY,
    };
    let host = Assignment {
        layout: VectorLayout::custom(layout).unwrap(),
        sources: vec![
            AssignedSource { holders: cpus(&[0]), ..roaming(source(1, Owner::Dom0, EDGE, 0x51, &[0])) },
            AssignedSource { holders: cpus(&[1]), ..roaming(source(2, GUEST, EDGE, 0x50, &[1])) },
            source(3, Owner::System, EDGE, 0x50, &[3]),
            source(4, Owner::System, EDGE, 0x51, &[3]),
        ],
        ..nic()
    };
    let plan = plan(&host, &Goal { pin: Pinning::Forbidden, ..Goal::default() });
    assert!(plan.moves.is_empty(), "{:#?}", plan.moves);
    assert_eq!(plan.remaining.len(), 1);
}

#[test]
fn a_cpu_without_a_vector_below_dom0s_sends_the_guest_to_another() {
    // On CPU 1 dom0's fixed source sits on the lowest vector there is.
    let host = physical(vec![
        fixed(source(1, Owner::Dom0, EDGE, 0x23, &[1])),
        AssignedSource { reachable: cpus(&[1, 3]), ..source(2, GUEST, EDGE, 0x70, &[1]) },
    ]);
    let goal = Goal { pin: Pinning::Forbidden, ..Goal::default() };
    let sent = plan(&host, &goal);
    let Change::Revector { to, .. } = &sent.moves[0].change else { panic!("{}", sent.moves[0]) };
    assert_eq!(to.target, cpus(&[3]));
    let kept = plan(&host, &Goal { retarget: Retarget::Forbidden, ..goal });
    assert!(kept.moves.is_empty());
    let reasons: Vec<String> = kept.remaining[0].because.iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["no free vector below 23 on CPUs {1} for IRQ 2", "IRQ 1 must stay: its driver keeps it"]);
}

#[test]
fn fixed_sources_and_a_goal_that_spares_dom0_are_named_as_what_stops_the_mending() {
    let host = physical(vec![source(1, Owner::Dom0, EDGE, 0x50, &[1]), fixed(source(2, GUEST, EDGE, 0x70, &[1]))]);
    let free = plan(&host, &Goal::default());
    assert_eq!(free.moves.iter().map(|step| step.source).collect::<Vec<_>>(), [SourceId(1)]);
    let bound = plan(&host, &Goal { movers: Movers::GuestsOnly, ..Goal::default() });
    assert!(bound.moves.is_empty());
    let reasons: Vec<String> = bound.remaining[0].because.iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["IRQ 2 must stay: its driver keeps it", "the goal leaves IRQ 1 where it is"]);
}

#[test]
fn a_target_that_is_not_online_is_told_and_not_moved() {
    let mut host = physical(vec![source(1, Owner::Dom0, EDGE, 0x50, &[7]), source(2, GUEST, EDGE, 0x70, &[7])]);
    host.online = CpuSet::first_n(4);
    let plan = plan(&host, &Goal { retarget: Retarget::Forbidden, ..Goal::default() });
    assert!(plan.moves.is_empty());
    assert!(plan.remaining[0].because[0].to_string().contains("online"));
}

/// A pin to CPUs that no roaming source of dom0's reaches once sent a retaining guest to the CPU of a settled one, with
/// no vector left to get below it: a lottery ended, and a retention began.
#[test]
fn a_pin_sends_no_source_to_where_it_does_more_harm() {
    let leasable = [0x2e, 0x2f, 0x30].into_iter().map(vector).collect();
    let layout = CustomLayout {
        boot_cpu: leasable,
        other_cpus: leasable,
        notification: VectorSet::EMPTY,
        system: VectorSet::EMPTY,
    };
    let at = |source: AssignedSource, reachable: &[u32]| AssignedSource {
        holders: cpus(&[0, 1]),
        reachable: cpus(reachable),
        ..source
    };
    let host = Assignment {
        layout: VectorLayout::custom(layout).unwrap(),
        sources: vec![
            at(source(1, Owner::Dom0, EDGE, 0x2e, &[1]), &[0, 1]),
            at(source(2, GUEST, SourceKind::Level, 0x2f, &[0]), &[0, 1]),
            at(source(3, Owner::Dom0, EDGE, 0x30, &[0]), &[0, 2]),
        ],
        ..nic()
    };
    let retained = |host: &Assignment| inversions(host).any(|i| i.kind == InversionKind::Retention(When::Now));
    assert!(!retained(&host));
    assert!(!retained(&plan(&host, &Goal::default()).apply(&host)));
}

/// A pin that would send dom0's source to another CPU is a move, and a goal that spares dom0 has none of it.
#[test]
fn a_goal_that_spares_dom0_pins_its_sources_only_where_they_are() {
    let away = AssignedSource { holders: cpus(&[1]), ..roaming(source(8, Owner::Dom0, EDGE, 0x60, &[0])) };
    let line = AssignedSource { holders: CpuSet::first_n(4), ..source(23, GUEST, SourceKind::Level, 0x30, &[3]) };
    let host = Assignment { sources: vec![away, roaming(line)], ..nic() };
    let goal = Goal { movers: Movers::GuestsOnly, pin: Pinning::Anyone, ..Goal::default() };
    let of_dom0s = |plan: vector_allocator::Plan| plan.moves.iter().any(|step| step.source == SourceId(8));
    assert!(!of_dom0s(plan(&host, &goal)));
    assert!(of_dom0s(plan(&host, &Goal { movers: Movers::Anyone, ..goal })));
}
