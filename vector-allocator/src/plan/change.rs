//! A plan as data: the moves in order, each with its steps and reasons.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use crate::Assignment;
use crate::CpuSet;
use crate::InversionKind;
use crate::SourceId;
use crate::Vector;
use crate::plan::remaining::Remaining;

/// What to do to a host, and what that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The moves, in the order they must be done: a later one may use a vector that an earlier one released.
    pub moves: Vec<Move>,
    /// The inversions that are still there afterwards, each with what stops it.
    pub remaining: Vec<Remaining>,
    /// Whether fewer moves could do.
    pub optimality: Optimality,
}

/// How the number of moves compares with the least that mends the same inversions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimality {
    /// No plan that mends what this one mends has fewer moves.
    Proven,
    /// It may have more moves than needed; fewer than this many cannot do.
    AtMost {
        /// At least this many moves are needed.
        lower_bound: usize,
    },
}

/// One move of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The source.
    pub source: SourceId,
    /// What a person calls it.
    pub label: String,
    /// What becomes of it.
    pub change: Change,
    /// What its move mends, the first [`LISTED`](Self::LISTED). Empty for a move that only makes room for another.
    pub mends: Vec<Mended>,
    /// How many more than the listed ones it mends.
    pub more: usize,
}

/// What a move changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The source gets another vector, and with it perhaps another CPU.
    Revector {
        /// Where it is.
        from: Place,
        /// Where it goes.
        to: Place,
    },
    /// The source keeps its vector and is kept to fewer CPUs: by the affinity of its vCPU or of its interrupt.
    Pin {
        /// The CPUs it could come to.
        from: CpuSet,
        /// The CPUs it is kept to.
        to: CpuSet,
        /// The CPUs it is sent to afterwards.
        target: CpuSet,
    },
}

/// A vector and the CPUs it involves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The vector.
    pub vector: Vector,
    /// The CPUs on which it is taken.
    pub holders: CpuSet,
    /// The CPUs it is delivered to.
    pub target: CpuSet,
}

/// An inversion that a move takes part in mending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mended {
    /// What kind of harm it was.
    pub kind: InversionKind,
    /// The source on the other side.
    pub against: SourceId,
}

/// One step of a move. Until a drained vector is released both it and the new one are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take the new vector.
    Reserve {
        /// The vector.
        vector: Vector,
        /// Where.
        cpus: CpuSet,
    },
    /// Write the new vector and CPU into the source: MSI message, redirection entry or remapping entry.
    Program {
        /// The vector.
        vector: Vector,
        /// The CPUs it is delivered to.
        target: CpuSet,
    },
    /// Wait until nothing is pending or in service on the old vector.
    Drain {
        /// The vector.
        vector: Vector,
        /// Where.
        cpus: CpuSet,
    },
    /// Give the old vector back.
    Release {
        /// The vector.
        vector: Vector,
        /// Where.
        cpus: CpuSet,
    },
    /// Keep the source to these CPUs.
    Restrict {
        /// The CPUs.
        cpus: CpuSet,
    },
}

impl Plan {
    /// The host after all moves.
    #[must_use]
    pub fn apply(&self, assignment: &Assignment) -> Assignment {
        let mut after = assignment.clone();
        let by_id: BTreeMap<SourceId, usize> =
            after.sources.iter().enumerate().map(|(index, source)| (source.id, index)).collect();
        for step in &self.moves {
            let Some(source) = by_id.get(&step.source).and_then(|index| after.sources.get_mut(*index)) else {
                continue;
            };
            match &step.change {
                Change::Revector { to, .. } => {
                    source.vector = to.vector;
                    source.holders = to.holders.clone();
                    source.target = to.target.clone();
                }
                Change::Pin { to, target, .. } => {
                    source.reachable = to.clone();
                    source.target = target.clone();
                }
            }
        }
        after
    }
}

impl Move {
    /// How many mended inversions a move lists.
    pub const LISTED: usize = 64;

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        match &self.change {
            Change::Revector { from, to } => [
                Step::Reserve { vector: to.vector, cpus: to.holders.clone() },
                Step::Program { vector: to.vector, target: to.target.clone() },
                Step::Drain { vector: from.vector, cpus: from.holders.clone() },
                Step::Release { vector: from.vector, cpus: from.holders.clone() },
            ]
            .into(),
            Change::Pin { to, .. } => [Step::Restrict { cpus: to.clone() }].into(),
        }
    }

    /// Why the source is moved, as text.
    #[must_use]
    pub fn reason(&self) -> String {
        if self.mends.is_empty() {
            return "makes room for another move".to_string();
        }
        let mut by_kind: BTreeMap<InversionKind, Vec<String>> = BTreeMap::new();
        for mended in self.mends.iter().rev() {
            by_kind.entry(mended.kind).or_default().push(mended.against.0.to_string());
        }
        let worst_first = by_kind.into_iter().rev();
        let parts: Vec<String> = worst_first
            .map(|(kind, mut sources)| {
                sources.reverse();
                format!("{kind} with IRQ {}", sources.join(", "))
            })
            .collect();
        let more = if self.more > 0 { format!(" and {} more", self.more) } else { String::new() };
        format!("ends {}{more}", parts.join("; "))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}/{}", self.vector, self.target, self.holders)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revector { from, to } => write!(f, "{from} -> {to}"),
            Self::Pin { from, to, .. } => write!(f, "CPUs {from} -> {to}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserve { vector, cpus } => write!(f, "reserve {vector} on {cpus}"),
            Self::Program { vector, target } => write!(f, "program {vector} to {target}"),
            Self::Drain { vector, cpus } => write!(f, "drain {vector} on {cpus}"),
            Self::Release { vector, cpus } => write!(f, "release {vector} on {cpus}"),
            Self::Restrict { cpus } => write!(f, "restrict to {cpus}"),
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IRQ {} ({}): {}: {}", self.source.0, self.label, self.change, self.reason())
    }
}

impl fmt::Display for Optimality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven => f.write_str("no plan that mends as much has fewer moves"),
            Self::AtMost { lower_bound: 0 | 1 } => f.write_str("whether fewer would do is not proven"),
            Self::AtMost { lower_bound } => write!(f, "fewer than {lower_bound} cannot do"),
        }
    }
}
