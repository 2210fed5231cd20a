//! Whether two sources can wait on the same CPU, and which vectors they hold when they do.

use crate::AssignedSource;
use crate::CpuSet;

/// How two sources come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// No CPU is open to both.
    Never,
    /// Their targets share a CPU as the host stands; nothing moves them.
    Now,
    /// Their targets share a CPU as the host stands, and a move can make either of them draw a new vector.
    NowAndDrawn,
    /// They can come together with the vectors they hold now.
    Kept,
    /// They can come together, and a move can make either of them draw a new vector.
    Drawn,
}

/// Where a source is taken and where it can go; a planner asks with places that are not yet taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Station<'a> {
    /// The CPUs on which its vector is taken.
    pub(crate) holders: &'a CpuSet,
    /// The CPUs it is sent to now.
    pub(crate) target: &'a CpuSet,
    /// The CPUs it can come to without anyone deciding so.
    pub(crate) reachable: &'a CpuSet,
    /// Whether it keeps its vector wherever it can go.
    pub(crate) settled: bool,
}

impl<'a> Station<'a> {
    /// Where `source` is.
    pub(crate) fn of(source: &'a AssignedSource) -> Self {
        Self::with_holders(source, &source.holders)
    }

    /// Where `source` would be if its vector were taken on `holders`.
    pub(crate) fn with_holders(source: &'a AssignedSource, holders: &'a CpuSet) -> Self {
        Self {
            holders,
            target: &source.target,
            reachable: &source.reachable,
            settled: covers(holders, &source.reachable),
        }
    }

    /// How this source and `other` come together.
    pub(crate) fn meets(self, other: Self) -> Meeting {
        let now = self.target.intersects(other.target);
        let drawn = !(self.settled && other.settled) && self.reachable.intersects(other.reachable);
        match (now, drawn) {
            (true, true) => Meeting::NowAndDrawn,
            (true, false) => Meeting::Now,
            (false, true) => Meeting::Drawn,
            (false, false) if self.can_carry_vectors_to(other) => Meeting::Kept,
            (false, false) => Meeting::Never,
        }
    }

    /// Whether some CPU is open to both with the vectors they hold.
    fn can_carry_vectors_to(self, other: Self) -> bool {
        let mine = self.reachable.words().iter().zip(self.holders.words());
        let theirs = other.reachable.words().iter().zip(other.holders.words());
        mine.zip(theirs).any(|((a, b), (c, d))| a & b & c & d != 0)
    }
}

/// Whether every member of `inner` is in `outer`, word by word.
pub(crate) fn covers(outer: &CpuSet, inner: &CpuSet) -> bool {
    let mut outer = outer.words().iter();
    inner.words().iter().all(|word| word & !outer.next().copied().unwrap_or(0) == 0)
}
