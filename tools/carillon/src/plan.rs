//! `carillon plan`: the smallest set of moves that mends a host, and what remains.

use carillon_sim::snapshot::SourceName;
use std::collections::BTreeMap;

use carillon_sim::snapshot::HostSnapshot;
use serde::Serialize;
use vector_allocator::Assignment;
use vector_allocator::Constraint;
use vector_allocator::Goal;
use vector_allocator::Pinning;
use vector_allocator::Plan;
use vector_allocator::SourceId;
use vector_allocator::aim::Consent;
use vector_allocator::inversions;

use crate::apply::Fired;
use crate::apply::Rehearsal;
use crate::apply::Work;
use crate::cli::PlanArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::hosts;
use crate::moved::Moved;
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
    /// How many inversions there are of the kinds to mend.
    inversions_before: usize,
    /// How many of them are left.
    inversions_after: usize,
    /// How many there are of kinds that were not to be mended.
    not_asked_for: usize,
    moves: Vec<Moved>,
    optimality: String,
    remaining: Vec<Left>,
    /// What `carillon apply` would do; of the live host alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    apply: Option<Rehearsal>,
    #[serde(skip)]
    steps: Steps,
    /// Whether another goal could end a lottery that remains.
    #[serde(skip)]
    is_pin_to_be_tried: bool,
}

/// What no move mends.
#[derive(Debug, Serialize)]
struct Left {
    what: String,
    count: usize,
    guests: Vec<SourceName>,
    dom0: Vec<SourceName>,
    because: Vec<String>,
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
    let goal = args.goal.goal();
    let steps = if args.steps { Steps::Shown } else { Steps::Hidden };
    let rehearse = |host: &HostSnapshot| {
        let work = Work::new(host, &Fired::Guessed, goal, Consent::KeepTraffic);
        args.host.live.then(|| work.rehearse(host, &Fired::Guessed))
    };
    let hosts = hosts::load(&args.host)?;
    let plans = hosts.iter().map(|host| HostPlan { apply: rehearse(host), ..plan(host, &goal, steps) });
    let plans: Vec<HostPlan> = plans.collect();
    let leaves = plans.iter().any(|plan| plan.inversions_after > 0);
    out.print(&Plans(plans), args.output.format())?;
    Ok(Verdict::no_if(leaves))
}

/// Plans for a host.
pub(crate) fn plan(host: &HostSnapshot, goal: &Goal, steps: Steps) -> HostPlan {
    let assignment = host.assignment();
    let plan = vector_allocator::plan(&assignment, goal);
    let facts = host.sources();
    let asked = |assignment: &Assignment| inversions(assignment).filter(|one| goal.mend.include(one.kind)).count();
    let remaining = remaining(&assignment, &plan, goal);
    let is_drawn = |left: &vector_allocator::Remaining| {
        goal.mend.include(left.kind) && left.because.iter().any(|one| matches!(one, Constraint::Drawn { .. }))
    };
    HostPlan {
        name: host.name.clone(),
        inversions_before: asked(&assignment),
        inversions_after: asked(&plan.apply(&assignment)),
        not_asked_for: inversions(&assignment).filter(|one| !goal.mend.include(one.kind)).count(),
        moves: plan.moves.iter().map(|planned| Moved::of(&assignment, &facts, planned)).collect(),
        optimality: plan.optimality.to_string(),
        remaining,
        apply: None,
        steps,
        is_pin_to_be_tried: goal.pin != Pinning::Anyone && plan.remaining.iter().any(is_drawn),
    }
}

/// What is left of the kinds to mend.
fn remaining(assignment: &Assignment, plan: &Plan, goal: &Goal) -> Vec<Left> {
    let names = |ids: &[SourceId]| ids.iter().map(|id| SourceName::of(assignment, *id)).collect();
    let asked = plan.remaining.iter().filter(|left| goal.mend.include(left.kind));
    let left = asked.map(|left| Left {
        what: left.kind.to_string(),
        count: left.count(),
        guests: names(&left.guests),
        dom0: names(&left.dom0),
        because: left.because.iter().map(ToString::to_string).collect(),
    });
    left.collect()
}

impl HostPlan {
    /// Writes it to a page.
    pub(crate) fn show(&self, page: &mut Page) {
        page.heading("Plan");
        if self.moves.is_empty() {
            let nothing =
                if self.inversions_before == 0 { "There is nothing to mend." } else { "No move mends anything." };
            page.line(Tone::Plain, nothing);
        }
        let mut pinned_by: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, moved) in (1..).zip(&self.moves) {
            let done_by = moved.command().map(|command| *pinned_by.entry(command).or_insert(number));
            moved.show(page, number, done_by.filter(|earlier| *earlier < number), self.steps);
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
        if self.not_asked_for > 0 {
            let text = format!("Of kinds that were not to be mended there are {}.", self.not_asked_for);
            page.line(Tone::Faint, &text);
        }
        if !self.moves.is_empty() {
            page.line(
                Tone::Faint,
                "Nothing was changed. Stock Xen chooses vectors itself, so a new vector is a proposal; a pin is `xl vcpu-pin`.",
            );
        }
        self.show_remaining(page);
        if let Some(rehearsal) = &self.apply {
            rehearsal.show(page);
        }
    }

    fn show_remaining(&self, page: &mut Page) {
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
        if self.is_pin_to_be_tried {
            page.line(Tone::Plain, "`carillon plan --pin anyone` says which pins end the lottery.");
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

/// The first few of many.
fn few(names: &[SourceName]) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMED).map(ToString::to_string).collect();
    if names.len() > NAMED {
        shown.push(format!("{} more", names.len() - NAMED));
    }
    shown.join(", ")
}
