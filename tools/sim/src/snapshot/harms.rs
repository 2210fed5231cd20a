//! What is wrong with a host, as documents: where a guest outranks dom0, could, or can hold it back.

use std::fmt;

use serde::Serialize;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::FORCED_EOI_NS;
use vector_allocator::Inversion;
use vector_allocator::InversionKind;
use vector_allocator::SourceId;
use vector_allocator::When;
use vector_allocator::inversions;
use vector_allocator::latent;
use vector_allocator::retentions;

/// One inversion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Harm {
    /// Which kind.
    #[serde(skip)]
    pub kind: InversionKind,
    /// `rank inversion`, `possible inversion`, `retention`, …
    pub what: String,
    /// The guest's source.
    pub guest: SourceName,
    /// Dom0's.
    pub dom0: SourceName,
    /// The CPUs where it holds, or could.
    pub cpus: String,
}

/// A source as a person calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceName {
    /// Its IRQ.
    pub irq: u32,
    /// Its vector, two hexadecimal digits.
    pub vector: String,
    /// Its device.
    pub device: String,
    /// Whose it is.
    pub owner: String,
}

/// A guest's source that keeps the in-service bit, and which vectors of others that stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retainer {
    /// The guest's source.
    pub guest: SourceName,
    /// At most for how long each time, ns.
    pub at_most_ns: u64,
    /// What it blocks as the host stands.
    pub blocks: Vec<SourceName>,
    /// What it can come to block after a move.
    pub can_block: Vec<SourceName>,
}

/// All that is wrong with a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Harms {
    /// Those of sources that can fire, the worst kind first.
    pub inversions: Vec<Harm>,
    /// Those that would be there if a guest bound what it has mapped.
    pub latent: Vec<Harm>,
    /// The guests' sources that keep the in-service bit.
    pub retention: Vec<Retainer>,
}

impl SourceName {
    /// The name of the source `id`.
    #[must_use]
    pub fn of(assignment: &Assignment, id: SourceId) -> Self {
        match assignment.sources.iter().find(|source| source.id == id) {
            Some(source) => Self::named(source),
            None => Self { irq: id.0, vector: "–".into(), device: "unknown".into(), owner: "nobody".into() },
        }
    }

    fn named(source: &AssignedSource) -> Self {
        Self {
            irq: source.id.0,
            vector: source.vector.to_string(),
            device: source.label.clone(),
            owner: source.owner.to_string(),
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.vector, self.device, self.owner)
    }
}

impl Harms {
    /// Those of a host.
    #[must_use]
    pub fn of(assignment: &Assignment) -> Self {
        let rows = |found: &mut dyn Iterator<Item = Inversion>| {
            let mut found: Vec<Inversion> = found.collect();
            found.sort_by_key(|one| std::cmp::Reverse(one.kind));
            let row = |one: Inversion| Harm {
                kind: one.kind,
                what: one.kind.to_string(),
                guest: SourceName::of(assignment, one.guest),
                dom0: SourceName::of(assignment, one.dom0),
                cpus: one.cpus.to_string(),
            };
            found.into_iter().map(row).collect()
        };
        let retention = retentions(assignment).into_iter().map(|retention| {
            let blocked = |when: When| {
                let those = retention.blocked.iter().filter(|blocked| blocked.when == when);
                those.map(|blocked| SourceName::of(assignment, blocked.source)).collect()
            };
            Retainer {
                guest: SourceName::of(assignment, retention.guest),
                at_most_ns: FORCED_EOI_NS,
                blocks: blocked(When::Now),
                can_block: blocked(When::AfterMove),
            }
        });
        Self {
            inversions: rows(&mut inversions(assignment)),
            latent: rows(&mut latent(assignment)),
            retention: retention.collect(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inversions.is_empty()
    }
}
