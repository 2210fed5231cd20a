//! `carillon plan`: the smallest set of moves that mends a host, and what remains.

use carillon_sim::snapshot::HostSnapshot;
use serde::Serialize;
use vector_allocator::Assignment;
use vector_allocator::Change;
use vector_allocator::Constraint;
use vector_allocator::Goal;
use vector_allocator::Movers;
use vector_allocator::Pinning;
use vector_allocator::Place;
use vector_allocator::Plan;
use vector_allocator::Retarget;
use vector_allocator::inversions;

use crate::cli::Mend;
use crate::cli::PlanArgs;
use crate::cli::Whose;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::harm::SourceName;
use crate::hosts;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// The plans of the hosts.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Plans(Vec<HostPlan>);

/// The plan of a host.
#[derive(Debug, Serialize)]
pub(crate) struct HostPlan {
    name: String,
    /// How many inversions there are.
    inversions_before: usize,
    /// How many are left.
    inversions_after: usize,
    moves: Vec<Moved>,
    optimality: String,
    remaining: Vec<Left>,
    #[serde(skip)]
    steps: Steps,
    #[serde(skip)]
    pin: Pinning,
}

/// One move.
#[derive(Debug, Serialize)]
struct Moved {
    source: SourceName,
    change: String,
    why: String,
    steps: Vec<String>,
}

/// What no move mends.
#[derive(Debug, Serialize)]
struct Left {
    what: String,
    count: usize,
    guests: Vec<SourceName>,
    dom0: Vec<SourceName>,
    because: Vec<String>,
    #[serde(skip)]
    is_drawn: bool,
}

/// Whether a page shows the steps of each move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// It does.
    Shown,
    /// It does not.
    Hidden,
}

/// The most sources of a kind that a page names.
const NAMED: usize = 6;

/// Plans for the hosts asked for.
pub(crate) fn run(args: &PlanArgs, out: Output) -> Result<Verdict, Failure> {
    let goal = goal(args)?;
    let steps = if args.steps { Steps::Shown } else { Steps::Hidden };
    let plans: Vec<HostPlan> = hosts::load(&args.host)?.iter().map(|host| plan(host, &goal, steps)).collect();
    let leaves = plans.iter().any(|plan| plan.inversions_after > 0);
    out.print(&Plans(plans), args.output.format())?;
    Ok(Verdict::no_if(leaves))
}

fn goal(args: &PlanArgs) -> Result<Goal, Failure> {
    Ok(Goal {
        mend: match args.mend {
            Mend::All => vector_allocator::Harms::All,
            Mend::Present => vector_allocator::Harms::Present,
            Mend::Retention => vector_allocator::Harms::Retention,
        },
        movers: match args.movers {
            Whose::Anyone => Movers::Anyone,
            Whose::Guests => Movers::GuestsOnly,
            Whose::Nobody => return Err(Failure::new("--movers nobody leaves nothing to plan")),
        },
        retarget: if args.keep_cpus { Retarget::Forbidden } else { Retarget::Allowed },
        pin: match args.pin {
            Whose::Nobody => Pinning::Forbidden,
            Whose::Guests => Pinning::GuestsOnly,
            Whose::Anyone => Pinning::Anyone,
        },
    })
}

/// Plans for a host.
pub(crate) fn plan(host: &HostSnapshot, goal: &Goal, steps: Steps) -> HostPlan {
    let assignment = host.assignment();
    let plan = vector_allocator::plan(&assignment, goal);
    HostPlan { pin: goal.pin, ..HostPlan::of(&host.name, &assignment, &plan, steps) }
}

impl HostPlan {
    fn of(name: &str, assignment: &Assignment, plan: &Plan, steps: Steps) -> Self {
        let names = |ids: &[vector_allocator::SourceId]| ids.iter().map(|id| SourceName::of(assignment, *id)).collect();
        Self {
            name: name.to_owned(),
            inversions_before: inversions(assignment).count(),
            inversions_after: inversions(&plan.apply(assignment)).count(),
            moves: plan
                .moves
                .iter()
                .map(|planned| Moved {
                    source: SourceName::of(assignment, planned.source),
                    change: change(&planned.change),
                    why: planned.reason(),
                    steps: planned.steps().iter().map(ToString::to_string).collect(),
                })
                .collect(),
            optimality: plan.optimality.to_string(),
            remaining: plan
                .remaining
                .iter()
                .map(|left| Left {
                    what: left.kind.to_string(),
                    count: left.count(),
                    guests: names(&left.guests),
                    dom0: names(&left.dom0),
                    because: left.because.iter().map(ToString::to_string).collect(),
                    is_drawn: left.because.iter().any(|one| matches!(one, Constraint::Drawn { .. })),
                })
                .collect(),
            steps,
            pin: Pinning::Forbidden,
        }
    }

    /// Writes it to a page.
    pub(crate) fn show(&self, page: &mut Page) {
        page.heading("Plan");
        if self.moves.is_empty() {
            page.line(Tone::Plain, "No move mends anything.");
        }
        for (number, moved) in (1..).zip(&self.moves) {
            page.line(Tone::Good, &format!("{number:>3}. {}: {}", moved.source, moved.change));
            page.line(Tone::Plain, &format!("     {}", moved.why));
            if self.steps == Steps::Shown {
                for step in &moved.steps {
                    page.line(Tone::Faint, &format!("       • {step}"));
                }
            }
        }
        let tone = if self.inversions_after == 0 { Tone::Good } else { Tone::Warn };
        page.line(
            tone,
            &format!(
                "Moves: {}; {}. Inversions: {} before, {} after.",
                self.moves.len(),
                self.optimality,
                self.inversions_before,
                self.inversions_after
            ),
        );
        if self.remaining.is_empty() {
            return;
        }
        page.heading("What remains, and what stops it");
        let rows = self.remaining.iter().map(|left| {
            vec![
                Piece::toned(format!("{} × {}", left.count, left.what), Tone::Warn),
                few(&left.guests).into(),
                few(&left.dom0).into(),
                left.because.join("; ").into(),
            ]
        });
        page.table(&["what", "guests'", "dom0's", "because"], rows.collect());
        if self.pin != Pinning::Anyone && self.remaining.iter().any(|left| left.is_drawn) {
            page.line(Tone::Plain, "`carillon plan --pin anyone` says which pins end the lottery (`xl vcpu-pin`).");
        }
    }
}

impl Answer for Plans {
    fn show(&self, page: &mut Page) {
        for plan in &self.0 {
            page.title(&plan.name);
            plan.show(page);
        }
    }
}

/// A change in words.
fn change(change: &Change) -> String {
    match change {
        Change::Pin { from, to, .. } => format!("keep it to pCPUs {to}; it could come to {from}"),
        Change::Revector { from, to } if from.target == to.target => {
            format!("vector {} -> {}, still on pCPU {}{}", from.vector, to.vector, to.target, taken(to))
        }
        Change::Revector { from, to } => format!(
            "vector {} on pCPU {} -> {} on pCPU {}{}",
            from.vector,
            from.target,
            to.vector,
            to.target,
            taken(to)
        ),
    }
}

/// Where else than on its target a vector is taken.
fn taken(place: &Place) -> String {
    if place.holders == place.target { String::new() } else { format!(" (taken on {})", place.holders) }
}

/// The first few of many.
fn few(names: &[SourceName]) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMED).map(ToString::to_string).collect();
    if names.len() > NAMED {
        shown.push(format!("{} more", names.len() - NAMED));
    }
    shown.join(", ")
}
