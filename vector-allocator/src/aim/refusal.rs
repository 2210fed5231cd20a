//! Why stock Xen cannot be brought to a wanted order of vectors.

use core::fmt;

use crate::SourceId;
use crate::aim::deed::Deed;
use crate::aim::deed::Lever;

/// Why it was not done, or not finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No lever moves the source: Xen handles it itself, or its vCPU is not known.
    #[error("nothing in Xen's interface moves IRQ {}", irq.0)]
    NoLever {
        /// The source.
        irq: SourceId,
    },
    /// Only detaching a device would help, and that interrupts its traffic.
    #[error("only detaching {lever} and attaching it again can help, which interrupts its traffic and was not allowed")]
    NotAllowed {
        /// The device.
        lever: Lever,
    },
    /// No sequence of moves within the limit leaves less harm.
    #[error("no sequence of {longest} moves or fewer mends what is left ({left})")]
    OutOfReach {
        /// The most moves that were tried.
        longest: usize,
        /// How much is left.
        left: usize,
    },
    /// As many moves were made as were allowed, and the host is not in order.
    #[error("after {draws} moves there is still something to mend ({left})")]
    Exhausted {
        /// How many were made.
        draws: u32,
        /// How much is left.
        left: usize,
    },
    /// A source was sent elsewhere and never arrived. Xen moves an interrupt when it fires next.
    #[error("IRQ {} does not move: it does not fire, or its move before is still under way", irq.0)]
    Silent {
        /// The source.
        irq: SourceId,
    },
    /// Others draw vectors in between, so that too many predictions fail.
    #[error("{misses} moves got another vector than predicted: something else on the host moves interrupts")]
    Contended {
        /// How many.
        misses: u32,
    },
    /// The host refused a deed.
    #[error("the host could not do this: {0}")]
    Failed(Deed),
    /// Somebody asked for the end.
    #[error("it was given up")]
    GivenUp,
}

impl Refusal {
    /// What a hypervisor would have to offer so that this could be done; none if that is not what it lacks.
    #[must_use]
    pub const fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoLever { .. } => "a hypercall that gives an interrupt of the hypervisor's another vector",
            Self::NotAllowed { .. } => "a hypercall that gives an interrupt another vector where it is",
            Self::OutOfReach { .. } | Self::Exhausted { .. } | Self::Contended { .. } => {
                "an owner as an argument of assign_irq_vector, so that a guest's interrupt is never given a vector above dom0's"
            }
            Self::Silent { .. } => "a move that does not wait for the next interrupt",
            Self::Failed(_) | Self::GivenUp => return None,
        })
    }
}

/// What became of it all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host is as it was wanted.
    Mended,
    /// Nothing was changed.
    Refused(Refusal),
    /// What had been changed was taken back.
    RolledBack {
        /// Why.
        why: Refusal,
        /// How much harm there is now beyond what there was in the beginning: vectors cannot be given back, only drawn anew.
        more_harm: usize,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mended => f.write_str("mended"),
            Self::Refused(why) => write!(f, "refused, nothing was changed: {why}"),
            Self::RolledBack { why, more_harm: 0 } => write!(f, "taken back: {why}"),
            Self::RolledBack { why, more_harm } => {
                write!(f, "taken back: {why}; there are {more_harm} more inversions than before")
            }
        }
    }
}
