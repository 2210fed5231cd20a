//! Plans for the two recorded hosts.

use vector_allocator::Assignment;
use vector_allocator::Change;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::Goal;
use vector_allocator::Harms;
use vector_allocator::Optimality;
use vector_allocator::Owner;
use vector_allocator::Plan;
use vector_allocator::PriorityClass;
use vector_allocator::SourceId;
use vector_allocator::inversions;
use vector_allocator::plan;

use crate::hosts::intx;
use crate::hosts::nic;

/// The places that a plan's moves lead to.
fn goes_to(plan: &Plan) -> Vec<(u32, u8)> {
    let to = |change: &Change| match change {
        Change::Revector { to, .. } => to.vector.number(),
        Change::Pin { .. } => 0,
    };
    plan.moves.iter().map(|step| (step.source.0, to(&step.change))).collect()
}

fn lowest_dom0_class(host: &Assignment) -> PriorityClass {
    let dom0 = host.sources.iter().filter(|source| source.owner == Owner::Dom0 && source.is_bound());
    dom0.map(|source| source.vector.class()).min_by_key(|class| class.number()).unwrap()
}

#[test]
fn the_recorded_nic_is_mended_by_its_own_two_moves_and_no_plan_has_fewer() {
    let host = nic();
    let plan = plan(&host, &Goal::default());
    assert_eq!(plan.optimality, Optimality::Proven);
    assert_eq!(plan.moves.iter().map(|step| step.source).collect::<Vec<_>>(), [SourceId(26), SourceId(27)]);
    assert!(plan.remaining.is_empty());
    let after = plan.apply(&host);
    assert_eq!(inversions(&after).count(), 0);
    for step in &plan.moves {
        assert_eq!(step.mends.len(), 7, "each ends two rank inversions and five possible ones");
        let Change::Revector { from, to } = &step.change else { panic!("{step}") };
        assert_eq!(from.holders, CpuSet::first_n(4));
        assert_eq!(to.holders, CpuSet::first_n(4));
        assert!(host.layout.leasable(CpuId::BOOT).contains(to.vector));
    }
}

#[test]
fn a_move_says_what_it_is_and_why() {
    let plan = plan(&nic(), &Goal::default());
    let text = plan.moves[0].to_string();
    let expected = "IRQ 26 (IRQ 26): D8 on {0}/{0-3} -> 31 on {0}/{0-3}: \
                    ends rank inversion with IRQ 8, 9; possible inversion with IRQ ";
    assert!(text.starts_with(expected), "{text}");
    let steps: Vec<String> = plan.moves[0].steps().iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["reserve 31 on {0-3}", "program 31 to {0}", "drain D8 on {0-3}", "release D8 on {0-3}"]);
}

#[test]
fn r_97_the_recorded_level_line_goes_below_every_class_of_dom0s_in_one_move() {
    let host = intx();
    assert_eq!(lowest_dom0_class(&host).number(), 6);
    let plan = plan(&host, &Goal::default());
    assert_eq!(plan.optimality, Optimality::Proven);
    assert_eq!(plan.moves.len(), 1);
    assert!(plan.remaining.is_empty());
    let after = plan.apply(&host);
    let line = after.sources.iter().find(|source| source.id == SourceId(23)).unwrap();
    assert!(lowest_dom0_class(&after).outranks(line.vector.class()));
    assert_eq!(inversions(&after).count(), 0);
}

#[test]
fn a_goal_for_present_harms_alone_leaves_the_possible_ones_and_says_so() {
    let host = nic();
    let plan = plan(&host, &Goal { mend: Harms::Retention, ..Goal::default() });
    assert!(plan.moves.is_empty());
    assert_eq!(plan.remaining.iter().map(vector_allocator::Remaining::count).sum::<usize>(), 14);
    assert!(plan.remaining[0].because[0].to_string().contains("the goal leaves IRQ"));
    assert_eq!(goes_to(&plan), []);
}
