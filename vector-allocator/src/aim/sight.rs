//! What can be told from outside of where Xen's cursor stands.

use core::fmt;

use crate::Assignment;
use crate::CpuId;
use crate::CpuSet;
use crate::DestinationModel;
use crate::Vector;
use crate::VectorLayout;
use crate::VectorSet;
use crate::cursor::Cursor;

/// The vectors Xen's global cursor may stand on.
///
/// The cursor stands on the vector it gave out last, and that vector is all of its state: so one draw that is seen tells
/// everything, until somebody else draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    pool: VectorSet,
    candidates: VectorSet,
}

impl Sight {
    /// Nothing is known yet.
    #[must_use]
    pub fn unknown(layout: &VectorLayout) -> Self {
        let pool = *layout.leasable(CpuId(1));
        Self { pool, candidates: pool }
    }

    /// The last draw is known.
    #[must_use]
    pub fn on(layout: &VectorLayout, vector: Vector) -> Self {
        Self { candidates: [vector].into_iter().collect(), ..Self::unknown(layout) }
    }

    /// Where the cursor stands, if only one vector is left.
    #[must_use]
    pub fn known(&self) -> Option<Vector> {
        if self.candidates.len() == 1 { self.candidates.lowest() } else { None }
    }

    /// Where it may stand.
    #[must_use]
    pub const fn candidates(&self) -> &VectorSet {
        &self.candidates
    }

    /// What is known after two readings of the host: whatever changed its vector or its place drew in between.
    ///
    /// From a known place the cursor only goes on, so of several draws the farthest on its way was the last. From an
    /// unknown one it stands on one of them: on the one after which there is none for more than half the way round, if there is
    /// such a one, since draws that come together lie close together. A draw that was undone in between leaves no trace; the next prediction then
    /// misses, and the miss says where the cursor is.
    #[must_use]
    pub fn after(&self, before: &Assignment, after: &Assignment) -> Self {
        let drawn: VectorSet = after
            .sources
            .iter()
            .filter(|now| self.pool.contains(now.vector))
            .filter(|now| {
                let then = before.sources.iter().find(|then| then.id == now.id);
                then.is_none_or(|then| then.vector != now.vector || then.holders != now.holders)
            })
            .map(|now| now.vector)
            .collect();
        if drawn.is_empty() {
            return *self;
        }
        let candidates = match self.known().map(|vector| Cursor::standing_on(&self.pool, vector)) {
            Some(cursor) => drawn.iter().max_by_key(|vector| cursor.steps_to(*vector)).into_iter().collect(),
            None => self.last_of(&drawn),
        };
        Self { candidates, ..*self }
    }

    /// Of vectors drawn within a short while the last, if it can be told; else all of them.
    fn last_of(&self, drawn: &VectorSet) -> VectorSet {
        let gap = |vector: &Vector| {
            let cursor = Cursor::standing_on(&self.pool, *vector);
            drawn.iter().filter(|other| other != vector).filter_map(|other| cursor.steps_to(other)).min()
        };
        let is_last = |vector: &Vector| gap(vector).is_none_or(|steps| steps > self.pool.len() / 2);
        let last: VectorSet = drawn.iter().filter(is_last).collect();
        if last.is_empty() { *drawn } else { last }
    }

    /// The vectors that a draw for `cpu` may give: one if the cursor is known, none if every vector is taken there.
    #[must_use]
    pub fn predict(&self, assignment: &Assignment, cpu: CpuId) -> VectorSet {
        let free = free_on(assignment, cpu);
        let draw = |from| Some(Cursor::standing_on(&self.pool, from).probe(&free)?.0);
        self.candidates.iter().filter_map(draw).collect()
    }
}

/// The vectors that can be given to an interrupt for `cpu`: those free on every CPU it would be taken on.
pub(super) fn free_on(assignment: &Assignment, cpu: CpuId) -> VectorSet {
    let places = match assignment.model {
        DestinationModel::Physical => CpuSet::single(cpu),
        model @ DestinationModel::Logical { .. } => model.holders(cpu, &assignment.online),
    };
    let taken: VectorSet = assignment
        .sources
        .iter()
        .filter(|source| source.holders.intersects(&places))
        .map(|source| source.vector)
        .collect();
    let leasable = places
        .iter()
        .map(|cpu| *assignment.layout.leasable(cpu))
        .reduce(|all, one| all.intersection(&one))
        .unwrap_or(VectorSet::EMPTY);
    leasable.difference(&taken)
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(vector) => write!(f, "the cursor stands on {vector}"),
            None => write!(f, "the cursor stands on one of {} vectors", self.candidates.len()),
        }
    }
}
