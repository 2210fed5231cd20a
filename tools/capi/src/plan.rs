//! Plans for recorded hosts, for C.

use std::ffi::c_char;

use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::SourceName;
use serde::Serialize;
use vector_allocator::Assignment;
use vector_allocator::Change;
use vector_allocator::Goal;
use vector_allocator::Harms;
use vector_allocator::Movers;
use vector_allocator::Optimality;
use vector_allocator::Pinning;
use vector_allocator::PlannedMove;
use vector_allocator::Retarget;
use vector_allocator::inversions;

use crate::call::enter;
use crate::document;
use crate::handle;
use crate::handle::Handle;
use crate::handle::Object;
use crate::pointer::Plain;
use crate::pointer::cpus_output;
use crate::pointer::from_c;
use crate::pointer::output;
use crate::pointer::text_output;
use crate::status::Failure;
use crate::status::Status;

/// Which inversions to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mend {
    /// All of them.
    All = 0,
    /// Those that are there as the host stands.
    Present = 1,
    /// Retention alone, now or after a move.
    Retention = 2,
}

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Whose {
    /// Nobody's.
    Nobody = 0,
    /// Guests' alone.
    Guests = 1,
    /// Anyone's.
    Anyone = 2,
}

/// What a plan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GoalOptions {
    /// One of `carillon_mend`: which inversions to mend.
    pub mend: u32,
    /// `CARILLON_WHOSE_GUESTS` or `CARILLON_WHOSE_ANYONE`: whose vectors may change.
    pub movers: u32,
    /// One of `carillon_whose`: whose interrupts may be kept to fewer CPUs.
    pub pin: u32,
    /// Not 0: every source stays on its CPU, only its vector may change.
    pub keep_cpus: u32,
}

/// What a move changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ChangeKind {
    /// The source gets another vector, and with it perhaps another CPU.
    Revector = 0,
    /// The source keeps its vector and is kept to fewer CPUs.
    Pin = 1,
}

/// One move of one source. They are to be done in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PlanMove {
    /// Xen's number of the interrupt.
    pub irq: u32,
    /// One of `carillon_change`.
    pub change: u32,
    /// The vector it has before.
    pub from_vector: u32,
    /// The vector it has afterwards; of a pin the same.
    pub to_vector: u32,
}

/// A plan in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PlanSummary {
    /// How many moves it has.
    pub moves: u64,
    /// No plan that mends as much has fewer moves than this.
    pub least_moves: u64,
    /// How many inversions there are of the kinds to mend.
    pub inversions_before: u64,
    /// How many of them are left.
    pub inversions_after: u64,
}

// SAFETY: integers.
unsafe impl Plain for GoalOptions {}

impl GoalOptions {
    pub(crate) fn goal(&self) -> Result<Goal, Failure> {
        Ok(Goal {
            mend: match self.mend {
                n if n == Mend::All as u32 => Harms::All,
                n if n == Mend::Present as u32 => Harms::Present,
                n if n == Mend::Retention as u32 => Harms::Retention,
                n => return Err(Failure::value("choice of what to mend", n)),
            },
            movers: match self.movers {
                n if n == Whose::Guests as u32 => Movers::GuestsOnly,
                n if n == Whose::Anyone as u32 => Movers::Anyone,
                n => return Err(Failure::value("choice of movers", n)),
            },
            pin: match self.pin {
                n if n == Whose::Nobody as u32 => Pinning::Forbidden,
                n if n == Whose::Guests as u32 => Pinning::GuestsOnly,
                n if n == Whose::Anyone as u32 => Pinning::Anyone,
                n => return Err(Failure::value("choice of whom to pin", n)),
            },
            retarget: if self.keep_cpus == 0 { Retarget::Allowed } else { Retarget::Forbidden },
        })
    }
}

/// A plan and its words.
pub(crate) struct Plan {
    plan: vector_allocator::Plan,
    assignment: Assignment,
    summary: PlanSummary,
    json: String,
}

impl Object for Plan {
    const NAME: &'static str = "a plan";
}

impl Plan {
    pub(crate) fn of(host: &HostSnapshot, goal: &Goal) -> Result<Self, Failure> {
        let assignment = host.assignment();
        let plan = vector_allocator::plan(&assignment, goal);
        let asked = |assignment: &Assignment| {
            let count = inversions(assignment).filter(|one| goal.mend.include(one.kind)).count();
            u64::try_from(count).unwrap_or(u64::MAX)
        };
        let moves = plan.moves.len() as u64;
        let summary = PlanSummary {
            moves,
            least_moves: match plan.optimality {
                Optimality::Proven => moves,
                Optimality::AtMost { lower_bound } => lower_bound as u64,
            },
            inversions_before: asked(&assignment),
            inversions_after: asked(&plan.apply(&assignment)),
        };
        let json = document::json(&PlanDocument::of(host, &assignment, &plan, &summary))?;
        Ok(Self { plan, assignment, summary, json })
    }

    fn planned(&self, index: usize) -> Result<&PlannedMove, Failure> {
        self.plan.moves.get(index).ok_or_else(|| Failure::index("move", index, self.plan.moves.len()))
    }

    fn entry(&self, planned: &PlannedMove) -> PlanMove {
        let held = self.assignment.sources.iter().find(|source| source.id == planned.source);
        let held = held.map_or(0, |source| u32::from(source.vector.number()));
        let (change, from_vector, to_vector) = match &planned.change {
            Change::Revector { from, to } => {
                (ChangeKind::Revector, u32::from(from.vector.number()), u32::from(to.vector.number()))
            }
            Change::Pin { .. } => (ChangeKind::Pin, held, held),
        };
        PlanMove { irq: planned.source.0, change: change as u32, from_vector, to_vector }
    }
}

/// A plan as JSON.
#[derive(Serialize)]
struct PlanDocument {
    name: String,
    inversions_before: u64,
    inversions_after: u64,
    moves: Vec<MoveEntry>,
    optimality: String,
    remaining: Vec<RemainingEntry>,
}

#[derive(Serialize)]
struct MoveEntry {
    source: SourceName,
    change: String,
    why: String,
    steps: Vec<String>,
}

#[derive(Serialize)]
struct RemainingEntry {
    what: String,
    count: usize,
    guests: Vec<SourceName>,
    dom0: Vec<SourceName>,
    because: Vec<String>,
}

impl PlanDocument {
    fn of(host: &HostSnapshot, assignment: &Assignment, plan: &vector_allocator::Plan, summary: &PlanSummary) -> Self {
        let names = |ids: &[vector_allocator::SourceId]| ids.iter().map(|id| SourceName::of(assignment, *id)).collect();
        let moves = plan.moves.iter().map(|planned| MoveEntry {
            source: SourceName::of(assignment, planned.source),
            change: planned.change.to_string(),
            why: planned.reason(),
            steps: planned.steps().iter().map(ToString::to_string).collect(),
        });
        let remaining = plan.remaining.iter().map(|left| RemainingEntry {
            what: left.kind.to_string(),
            count: left.count(),
            guests: names(&left.guests),
            dom0: names(&left.dom0),
            because: left.because.iter().map(ToString::to_string).collect(),
        });
        Self {
            name: host.name.clone(),
            inversions_before: summary.inversions_before,
            inversions_after: summary.inversions_after,
            moves: moves.collect(),
            optimality: plan.optimality.to_string(),
            remaining: remaining.collect(),
        }
    }
}

/// Tells a plan in numbers.
///
/// @param plan          The plan.
/// @param summary       The numbers.
/// @param summary_size  The size of the structure.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_plan_summarize(
    plan: Handle,
    summary: *mut PlanSummary,
    summary_size: usize,
) -> Status {
    enter(|| {
        let output = from_c!(output(summary, summary_size, "summary"))?;
        handle::with(plan, |plan: &Plan| {
            output.write(plan.summary);
            Ok(())
        })
    })
}

/// Tells one move of a plan.
///
/// @param plan       The plan.
/// @param index      Which, in the order in which they are to be done.
/// @param step       The move.
/// @param step_size  The size of the structure.
/// @param cpus       Where the CPUs go that it is sent to afterwards, or of a pin those it is kept to; null with 0 words if
///                   they are not wanted.
/// @param words      How many words.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_plan_move(
    plan: Handle,
    index: usize,
    step: *mut PlanMove,
    step_size: usize,
    cpus: *mut u64,
    words: usize,
) -> Status {
    enter(|| {
        let output = from_c!(output(step, step_size, "step"))?;
        let cpus = from_c!(cpus_output(cpus, words, "cpus"))?;
        handle::with(plan, |plan: &Plan| {
            let planned = plan.planned(index)?;
            cpus.write(match &planned.change {
                Change::Revector { to, .. } => &to.target,
                Change::Pin { to, .. } => to,
            })?;
            output.write(plan.entry(planned));
            Ok(())
        })
    })
}

/// Tells a whole plan as JSON: the moves with their reasons and steps, what remains, and what stops it.
///
/// @param plan    The plan.
/// @param buffer  Where the text goes, with a zero at its end; null with size 0 to ask for the size only.
/// @param size    The size of the buffer.
/// @param needed  The size the text needs, with its zero.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_plan_json(
    plan: Handle,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> Status {
    enter(|| {
        let output = from_c!(text_output(buffer, size, needed))?;
        handle::with(plan, |plan: &Plan| output.write(plan.json.as_bytes()))
    })
}
