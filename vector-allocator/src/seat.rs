//! Where a lease sits: one vector on the CPUs of one place.

use core::fmt;

use crate::CpuId;
use crate::CpuSet;
use crate::Vector;
use crate::levels::Ascending;

/// A place's index: a CPU with physical destinations, a cluster with logical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaceId(pub(crate) u16);

impl PlaceId {
    /// The number as an index into the table of places.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The first CPU of the place, where places have `width` CPUs.
    pub(crate) const fn first(self, width: u32) -> CpuId {
        CpuId(self.0 as u32 * width)
    }
}

/// A vector on the members of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) place: PlaceId,
    pub(crate) vector: Vector,
    pub(crate) claim: Claim,
    pub(crate) standing: Standing,
    /// The CPUs on which the vector is taken: bit k is the place's k-th CPU.
    pub(crate) members: u64,
}

/// What a seat was taken out of, and goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The free vectors.
    Free,
    /// The vectors reserved for managed sources.
    Managed,
}

/// Whether a seat takes part in the order of `below-dom0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is in its rank's band (or the policy keeps no bands).
    Ordered,
    /// It was found in disorder, or its CPUs are gone; the bands pass it over.
    Inherited,
}

/// An old seat that is live until the last interrupt sent to it has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moving {
    pub(crate) from: Seat,
    pub(crate) phase: Phase,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No interrupt has come to the new CPU yet (Xen: `move_in_progress`).
    Programmed,
    /// The first one has; the old CPUs clean up (Xen: `move_cleanup_count`).
    Draining,
}

/// The CPUs on which a lease's vector is taken, without a copy of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holders<'a>(Kind<'a>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind<'a> {
    Cluster { first: CpuId, members: u64 },
    Set(&'a CpuSet),
}

impl<'a> Holders<'a> {
    pub(crate) const fn cluster(first: CpuId, members: u64) -> Self {
        Self(Kind::Cluster { first, members })
    }

    pub(crate) const fn set(cpus: &'a CpuSet) -> Self {
        Self(Kind::Set(cpus))
    }

    /// Whether the vector is taken on `cpu`.
    #[must_use]
    pub fn contains(&self, cpu: CpuId) -> bool {
        match self.0 {
            Kind::Cluster { first, members } => {
                cpu.0.checked_sub(first.0).is_some_and(|bit| bit < u64::BITS && members >> bit & 1 == 1)
            }
            Kind::Set(cpus) => cpus.contains(cpu),
        }
    }

    /// The CPUs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + 'a {
        let (first, members, cpus) = match self.0 {
            Kind::Cluster { first, members } => (first, members, None),
            Kind::Set(cpus) => (CpuId(0), 0, Some(cpus)),
        };
        cpu_ids(first, members).chain(cpus.into_iter().flat_map(CpuSet::iter))
    }

    /// The CPUs as a set of their own.
    #[must_use]
    pub fn to_set(&self) -> CpuSet {
        self.iter().collect()
    }
}

impl fmt::Display for Holders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_set(), f)
    }
}

/// The CPUs of the bits of `members`, the first of which is `first`.
pub(crate) fn cpu_ids(first: CpuId, members: u64) -> impl Iterator<Item = CpuId> {
    #[expect(clippy::cast_possible_truncation, reason = "a bit's number is below 64")]
    Ascending(members).map(move |bit| CpuId(first.0 + bit as u32))
}

/// Where a lease's interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement<'a> {
    /// The host vector.
    pub vector: Vector,
    /// The CPU the interrupt is sent to.
    pub target: CpuId,
    /// The CPUs on which the vector is taken.
    pub holders: Holders<'a>,
    /// The old vector, while a move drains.
    pub moving_from: Option<MovingFrom<'a>>,
}

/// What a move left behind and has not yet freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovingFrom<'a> {
    /// The vector sources may still have sent.
    pub vector: Vector,
    /// The CPUs on which it is still taken.
    pub holders: Holders<'a>,
}
