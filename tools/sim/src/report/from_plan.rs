//! Plans, inversions and costs in the report's words.

use carillon_machine::Costs;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::Change;
use vector_allocator::Inversion;
use vector_allocator::InversionKind;
use vector_allocator::Plan;
use vector_allocator::PlannedMove;
use vector_allocator::SourceId;

use super::Finding;
use super::MoveRow;
use super::Parameter;
use super::PlanRows;
use super::Remaining;

impl PlanRows {
    /// The plan for `assignment`.
    #[must_use]
    pub fn of(assignment: &Assignment, plan: &Plan) -> Self {
        let remaining = plan.remaining.iter().map(|remaining| {
            let side = |ids: &[SourceId]| names(assignment, ids);
            let because: Vec<String> = remaining.because.iter().map(ToString::to_string).collect();
            Remaining {
                what: format!("{}: {} with {}", remaining.kind, side(&remaining.guests), side(&remaining.dom0)),
                constraint: because.join("; "),
            }
        });
        Self {
            moves: plan.moves.iter().map(|planned| row(assignment, planned)).collect(),
            remaining: remaining.collect(),
        }
    }
}

impl Finding {
    /// An inversion found on `assignment`.
    #[must_use]
    pub fn of(assignment: &Assignment, inversion: &Inversion) -> Self {
        let kind = match inversion.kind {
            InversionKind::Possible(_) => "possible",
            InversionKind::Rank => "rank",
            InversionKind::Retention(_) => "retention",
        };
        Self {
            kind: kind.to_owned(),
            guest: name(assignment, inversion.guest),
            dom0: name(assignment, inversion.dom0),
            cpus: inversion.cpus.to_string(),
        }
    }
}

impl Parameter {
    /// Every cost of a machine.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a cost is at most a second, well below 2^53 ns")]
    pub fn all(costs: &Costs) -> Vec<Self> {
        let parameter = |info: &carillon_machine::CostInfo| {
            let value = costs.get(info.cost);
            let source = if value == info.default { info.source } else { "set for this run" };
            Self { name: info.name.into(), value: value.0 as f64, unit: info.unit.into(), source: source.into() }
        };
        Costs::table().iter().map(parameter).collect()
    }
}

fn row(assignment: &Assignment, planned: &PlannedMove) -> MoveRow {
    let now = source(assignment, planned.source);
    let first = |cpus: &vector_allocator::CpuSet| cpus.first().map_or(0, |cpu| cpu.0);
    let (from, to, reason) = match &planned.change {
        Change::Revector { from, to } => {
            ((from.vector.number(), first(&from.target)), (to.vector.number(), first(&to.target)), planned.reason())
        }
        Change::Pin { to, target, .. } => {
            let vector = now.map_or(0, |source| source.vector.number());
            let from = now.map_or(0, |source| first(&source.target));
            ((vector, from), (vector, first(target)), format!("kept to CPUs {to}: {}", planned.reason()))
        }
    };
    MoveRow {
        source: now.map_or_else(|| planned.label.clone(), named),
        from_vector: from.0,
        from_cpu: from.1,
        to_vector: to.0,
        to_cpu: to.1,
        reason,
    }
}

fn source(assignment: &Assignment, id: SourceId) -> Option<&AssignedSource> {
    assignment.sources.iter().find(|source| source.id == id)
}

fn named(source: &AssignedSource) -> String {
    format!("{} {} ({})", source.vector, source.label, source.owner)
}

fn name(assignment: &Assignment, id: SourceId) -> String {
    source(assignment, id).map_or_else(|| format!("IRQ {}", id.0), named)
}

/// The first few of many.
fn names(assignment: &Assignment, ids: &[SourceId]) -> String {
    const LISTED: usize = 8;
    let mut listed: Vec<String> = ids.iter().take(LISTED).map(|id| name(assignment, *id)).collect();
    if ids.len() > LISTED {
        listed.push(format!("{} more", ids.len() - LISTED));
    }
    listed.join(", ")
}

#[cfg(test)]
mod tests {
    use carillon_machine::Costs;
    use carillon_machine::Span;
    use vector_allocator::Goal;
    use vector_allocator::Harms;
    use vector_allocator::inversions;
    use vector_allocator::plan;

    use super::Finding;
    use super::Parameter;
    use super::PlanRows;
    use crate::snapshot::HostSnapshot;
    use crate::snapshot::Recorded;

    #[test]
    fn a_plan_is_shown_move_by_move_with_the_vectors_of_the_dump() {
        let assignment = HostSnapshot::recorded(Recorded::SasIntx).unwrap().assignment();
        let planned = plan(&assignment, &Goal::default());
        let rows = PlanRows::of(&assignment, &planned);
        assert_eq!(rows.moves.len(), planned.moves.len());
        let nic = rows.moves.iter().find(|row| row.source.contains("eth0")).unwrap();
        assert!(nic.from_vector == 0xd0 && nic.to_vector < 0xc0 && nic.reason.contains("retention"), "{nic:?}");
    }

    #[test]
    fn what_no_move_mends_names_both_sides_and_the_constraint() {
        let assignment = HostSnapshot::recorded(Recorded::SasNic).unwrap().assignment();
        let goal = Goal { mend: Harms::Retention, ..Goal::default() };
        let rows = PlanRows::of(&assignment, &plan(&assignment, &goal));
        assert!(
            rows.remaining.iter().any(|row| row.what.contains("D8 eth0-rxtx-0 (d1)") && !row.constraint.is_empty())
        );
    }

    #[test]
    fn findings_name_vector_device_and_owner() {
        let assignment = HostSnapshot::recorded(Recorded::SasIntx).unwrap().assignment();
        let found: Vec<Finding> = inversions(&assignment).map(|one| Finding::of(&assignment, &one)).collect();
        assert!(
            found
                .iter()
                .any(|one| one.kind == "retention" && one.guest == "D0 eth0 (d1)" && one.dom0.starts_with("C8 "))
        );
    }

    #[test]
    fn a_cost_that_was_set_says_so() {
        let mut costs = Costs::default();
        costs.set("vm_exit", Span(900)).unwrap();
        let parameters = Parameter::all(&costs);
        let set = parameters.iter().find(|parameter| parameter.name == "vm_exit").unwrap();
        assert_eq!((set.value, set.source.as_str()), (900.0, "set for this run"));
        assert!(parameters.iter().filter(|parameter| parameter.source == "set for this run").count() == 1);
    }
}
