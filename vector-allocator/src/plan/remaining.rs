//! What a plan leaves, and what stops it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::CpuSet;
use crate::InversionKind;
use crate::SourceId;
use crate::Vector;

/// Inversions that are still there after a plan: each of `guests` with each of `dom0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// What kind of harm it is.
    pub kind: InversionKind,
    /// The guests' sources.
    pub guests: Vec<SourceId>,
    /// Dom0's sources.
    pub dom0: Vec<SourceId>,
    /// What stops the mending. Moving either side would have done, so there is one entry for each; a lottery has one for
    /// each side that draws (the first of its sources), and both have to be kept.
    pub because: Vec<Constraint>,
}

/// What stops an inversion from being mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// The source must stay.
    Fixed {
        /// The source.
        source: SourceId,
        /// Why, as its [`Mobility`](crate::Mobility) says.
        why: String,
    },
    /// The goal forbids moving the source, or mending this kind of harm.
    Forbidden {
        /// The source.
        source: SourceId,
    },
    /// Every vector that would do for the source is taken, or there is none.
    NoVectorBelow {
        /// The source.
        source: SourceId,
        /// It would have to get below this vector.
        vector: Vector,
        /// On these CPUs at once.
        cpus: CpuSet,
    },
    /// Every vector that would do for the source is taken, or there is none.
    NoVectorAbove {
        /// The source.
        source: SourceId,
        /// It would have to get above this vector.
        vector: Vector,
        /// On these CPUs at once.
        cpus: CpuSet,
    },
    /// No vector at all is free on these CPUs: an exchange needs one spare vector.
    NoSpare {
        /// The CPUs.
        cpus: CpuSet,
    },
    /// Other vectors would do, but the search found none that does not bring back another inversion.
    Entangled {
        /// The source.
        source: SourceId,
    },
    /// Whatever the order now, the source draws a new vector from the hypervisor's cursor when it goes where its present
    /// one is not taken. Keeping it, by its affinity and its vCPU's, to the CPUs that hold its vector ends that.
    Drawn {
        /// The source.
        source: SourceId,
        /// The vector it holds.
        vector: Vector,
        /// The CPUs on which that is taken.
        holders: CpuSet,
        /// The CPUs it can come to.
        reachable: CpuSet,
    },
}

impl Remaining {
    /// How many inversions this stands for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.guests.len().saturating_mul(self.dom0.len())
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { source, why } => write!(f, "IRQ {} must stay: {why}", source.0),
            Self::Forbidden { source } => write!(f, "the goal leaves IRQ {} where it is", source.0),
            Self::NoVectorBelow { source, vector, cpus } => {
                write!(f, "no free vector below {vector} on CPUs {cpus} for IRQ {}", source.0)
            }
            Self::NoVectorAbove { source, vector, cpus } => {
                write!(f, "no free vector above {vector} on CPUs {cpus} for IRQ {}", source.0)
            }
            Self::NoSpare { cpus } => write!(f, "an exchange needs one spare vector on CPUs {cpus}"),
            Self::Entangled { source } => write!(f, "no move of IRQ {} helps without harm elsewhere", source.0),
            Self::Drawn { source, vector, holders, reachable } => write!(
                f,
                "IRQ {} holds {vector} on {holders} and draws another elsewhere in {reachable}: keep it to {holders}",
                source.0
            ),
        }
    }
}
