//! What waits for a vCPU, kept beside its engine: it tells which interrupts became one, and that none is lost.

use vector_allocator::Vector;
use vector_allocator::VectorSet;

/// The vectors of a vCPU that have come and have not been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Left for the vCPU, in its inbox or its descriptor.
    staged: VectorSet,
    /// In its IRR.
    requested: VectorSet,
}

/// What becomes of a vector that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It is the only one of its number where it was left.
    New,
    /// It was there already: the two are one.
    Merged,
}

impl Ledger {
    pub(crate) const EMPTY: Self = Self { staged: VectorSet::EMPTY, requested: VectorSet::EMPTY };

    /// Whether nothing waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.requested.is_empty()
    }

    /// A vector is left where it will be taken from.
    pub(crate) const fn stage(&mut self, vector: Vector) -> Entry {
        if self.staged.insert(vector) { Entry::New } else { Entry::Merged }
    }

    /// A vector is set in the IRR itself.
    pub(crate) const fn request(&mut self, vector: Vector) -> Entry {
        if self.requested.insert(vector) { Entry::New } else { Entry::Merged }
    }

    /// What was left, but for `except`, is taken into the IRR; returns those that waited there already.
    pub(crate) const fn take(&mut self, except: &VectorSet) -> VectorSet {
        let stays = self.staged.intersection(except);
        let taken = self.staged.difference(except);
        self.staged = stays;
        let twice = self.requested.intersection(&taken);
        self.requested = self.requested.union(&taken);
        twice
    }

    /// A vector is delivered; whether it had come.
    pub(crate) const fn deliver(&mut self, vector: Vector) -> bool {
        self.requested.remove(vector)
    }

    /// What was left and not taken.
    pub(crate) const fn staged(&self) -> &VectorSet {
        &self.staged
    }

    /// What the IRR is to hold.
    pub(crate) const fn requested(&self) -> &VectorSet {
        &self.requested
    }
}
