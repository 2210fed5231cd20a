//! Inversions on a page: where a guest outranks dom0, could, or can hold it back.

use std::collections::BTreeSet;

use carillon_sim::report::format;
use carillon_sim::snapshot::Harm;
use carillon_sim::snapshot::Harms;
use carillon_sim::snapshot::SourceName;
use vector_allocator::Chance;
use vector_allocator::InversionKind;
use vector_allocator::When;

use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// The most rows of one kind a page shows; JSON has all.
const SHOWN: usize = 40;

/// Writes them to a page.
pub(crate) fn show(harms: &Harms, page: &mut Page) {
    page.heading("Where a guest outranks dom0 or can hold it back");
    if harms.inversions.is_empty() {
        page.line(Tone::Good, "Nowhere: no guest's vector can come above one of dom0's, and none retains.");
    }
    table(page, &harms.inversions, Tone::Bad);
    let kinds: BTreeSet<InversionKind> = harms.inversions.iter().map(|harm| harm.kind).collect();
    for kind in kinds.into_iter().rev() {
        page.line(Tone::Faint, &format!("  • {kind}: {}", meaning(kind)));
    }
    if !harms.latent.is_empty() {
        page.heading("The same, if a guest bound what it has mapped but not bound");
        table(page, &harms.latent, Tone::Warn);
    }
    page.heading("Who keeps the in-service bit");
    if harms.retention.is_empty() {
        page.line(
            Tone::Good,
            "No guest's source retains: each is edge-triggered and can be masked, so its EOI comes at once.",
        );
    }
    for retainer in &harms.retention {
        let most = format::duration(retainer.at_most_ns);
        page.line(
            Tone::Bad,
            &format!("{} keeps it until its guest is done, at most {most} each time.", retainer.guest),
        );
        page.line(Tone::Plain, &format!("  • blocks now: {}", list(&retainer.blocks)));
        page.line(Tone::Plain, &format!("  • after a move: {}", list(&retainer.can_block)));
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
