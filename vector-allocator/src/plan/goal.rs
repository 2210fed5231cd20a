//! What a plan is asked for.

use crate::InversionKind;

/// What to mend, and by which means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// Which harms to mend.
    pub mend: Harms,
    /// Whose sources may be given other vectors.
    pub movers: Movers,
    /// Whether a source may be sent to another CPU where no vector helps on its own.
    pub retarget: Retarget,
    /// Whose interrupts may be kept to fewer CPUs.
    pub pin: Pinning,
}

/// A set of kinds of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harms {
    /// All of them.
    All,
    /// Those that are there as the host stands: rank, and retention now.
    Present,
    /// Retention alone, now or after a move: the only one that lasts longer than a handler.
    Retention,
}

/// Whose sources may be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movers {
    /// Anyone's; guests' are preferred where the number of moves is the same.
    Anyone,
    /// Guests' alone.
    GuestsOnly,
}

/// Whether sources may be sent to another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retarget {
    /// Within the CPUs they can reach anyway.
    Allowed,
    /// Other vectors only.
    Forbidden,
}

/// Whose interrupts may be kept to fewer CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// Nobody's.
    Forbidden,
    /// Guests' alone.
    GuestsOnly,
    /// Anyone's. Where both sides roam it takes both to end the lottery.
    Anyone,
}

impl Default for Goal {
    /// Mend everything by any vector or CPU, pinning guests only.
    fn default() -> Self {
        Self { mend: Harms::All, movers: Movers::Anyone, retarget: Retarget::Allowed, pin: Pinning::GuestsOnly }
    }
}

impl Harms {
    /// Whether a harm of this kind is to be mended.
    #[must_use]
    pub const fn include(self, kind: InversionKind) -> bool {
        match self {
            Self::All => true,
            Self::Present => matches!(kind, InversionKind::Rank | InversionKind::Retention(crate::When::Now)),
            Self::Retention => matches!(kind, InversionKind::Retention(_)),
        }
    }
}
