//! Inversions as rows: where a guest outranks dom0, could, or can hold it back.

use std::collections::BTreeSet;

use carillon_sim::report::format;
use serde::Serialize;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::Chance;
use vector_allocator::FORCED_EOI_NS;
use vector_allocator::Inversion;
use vector_allocator::InversionKind;
use vector_allocator::SourceId;
use vector_allocator::When;
use vector_allocator::inversions;
use vector_allocator::latent;
use vector_allocator::retentions;

use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// The most rows of one kind a page shows; JSON has all.
const SHOWN: usize = 40;

/// One inversion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Harm {
    #[serde(skip)]
    kind: InversionKind,
    /// `rank inversion`, `possible inversion`, `retention`, …
    what: String,
    /// The guest's source.
    guest: SourceName,
    /// Dom0's.
    dom0: SourceName,
    /// The CPUs where it holds, or could.
    cpus: String,
}

/// A source as a person calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SourceName {
    /// Its IRQ.
    irq: u32,
    /// Its vector, two hexadecimal digits.
    vector: String,
    /// Its device.
    device: String,
    /// Whose it is.
    owner: String,
}

/// A guest's source that keeps the in-service bit, and which vectors of others that stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Retainer {
    /// The guest's source.
    guest: SourceName,
    /// At most for how long each time, ns.
    at_most_ns: u64,
    /// What it blocks as the host stands.
    blocks: Vec<SourceName>,
    /// What it can come to block after a move.
    can_block: Vec<SourceName>,
}

/// All that is wrong with a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Harms {
    /// Those of sources that can fire, the worst kind first.
    inversions: Vec<Harm>,
    /// Those that would be there if a guest bound what it has mapped.
    latent: Vec<Harm>,
    /// The guests' sources that keep the in-service bit.
    retention: Vec<Retainer>,
}

impl SourceName {
    /// The name of the source `id`.
    pub(crate) fn of(assignment: &Assignment, id: SourceId) -> Self {
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

impl std::fmt::Display for SourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.vector, self.device, self.owner)
    }
}

impl Harms {
    /// Those of a host.
    pub(crate) fn of(assignment: &Assignment) -> Self {
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
    pub(crate) fn is_empty(&self) -> bool {
        self.inversions.is_empty()
    }

    /// Writes them to a page.
    pub(crate) fn show(&self, page: &mut Page) {
        page.heading("Where a guest outranks dom0 or can hold it back");
        if self.inversions.is_empty() {
            page.line(Tone::Good, "Nowhere: no guest's vector can come above one of dom0's, and none retains.");
        }
        table(page, &self.inversions, Tone::Bad);
        let kinds: BTreeSet<InversionKind> = self.inversions.iter().map(|harm| harm.kind).collect();
        for kind in kinds.into_iter().rev() {
            page.line(Tone::Faint, &format!("  • {kind}: {}", meaning(kind)));
        }
        if !self.latent.is_empty() {
            page.heading("The same, if a guest bound what it has mapped but not bound");
            table(page, &self.latent, Tone::Warn);
        }
        page.heading("Who keeps the in-service bit");
        if self.retention.is_empty() {
            page.line(
                Tone::Good,
                "No guest's source retains: each is edge-triggered and can be masked, so its EOI comes at once.",
            );
        }
        for retainer in &self.retention {
            let most = format::duration(retainer.at_most_ns);
            page.line(
                Tone::Bad,
                &format!("{} keeps it until its guest is done, at most {most} each time.", retainer.guest),
            );
            page.line(Tone::Plain, &format!("  • blocks now: {}", list(&retainer.blocks)));
            page.line(Tone::Plain, &format!("  • after a move: {}", list(&retainer.can_block)));
        }
    }
}

fn list(names: &[SourceName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn table(page: &mut Page, harms: &[Harm], tone: Tone) {
    let rows = harms.iter().take(SHOWN).map(|harm| {
        vec![
            Piece::toned(harm.what.clone(), tone),
            harm.guest.to_string().into(),
            harm.dom0.to_string().into(),
            harm.cpus.clone().into(),
        ]
    });
    page.table(&["what", "guest's", "dom0's", "pCPUs"], rows.collect());
    if let Some(more) = harms.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        page.line(Tone::Faint, &format!("… and {} more; --json has them all", format::count(more as u64)));
    }
}

/// What a kind of harm means.
fn meaning(kind: InversionKind) -> &'static str {
    match kind {
        InversionKind::Rank => "when both wait, dom0's is served second: one handler longer",
        InversionKind::Possible(Chance::VectorsKept) => "after a move, in the order their vectors have now",
        InversionKind::Possible(Chance::VectorDrawn) => {
            "after a move, which draws a new vector: nobody can tell the order"
        }
        InversionKind::Retention(When::Now) => {
            "dom0's is not delivered at all while the guest takes its time, up to 1 ms"
        }
        InversionKind::Retention(When::AfterMove) => "the same, after a move",
    }
}
