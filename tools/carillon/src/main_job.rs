//! The main job on the recorded hosts: who owns which vector, where a guest outranks dom0, what mends it, and what that does.

use carillon_sim::Replayed;
use carillon_sim::Run;
use carillon_sim::RunResult;
use carillon_sim::Scenario;
use carillon_sim::VectorPolicy;
use carillon_sim::report::format;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::Recorded;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::CpuId;
use vector_allocator::Goal;
use vector_allocator::Inversion;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::inversions;
use vector_allocator::plan;

use crate::failure::Failure;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// Does the main job on every recorded host that comes with the program.
pub(crate) fn main_job(page: &mut Page) -> Result<(), Failure> {
    for recorded in [Recorded::SasNic, Recorded::SasIntx] {
        one_host(page, recorded)?;
    }
    page.title("What to do next");
    page.line(Tone::Plain, "  • Plan, simulate and report on a host of your own through the library: carillon_sim::snapshot::HostSnapshot::load.");
    Ok(())
}

fn one_host(page: &mut Page, recorded: Recorded) -> Result<(), Failure> {
    let host = HostSnapshot::recorded(recorded).map_err(Failure::new)?;
    let assignment = host.assignment();
    page.title(&host.name);
    page.line(Tone::Plain, &format!("Addressing: {}.", host.destination_model().evidence));
    for cpu in assignment.online.iter() {
        vectors(page, &assignment, cpu);
    }
    let found: Vec<Inversion> = inversions(&assignment).collect();
    harms(page, &assignment, &found);
    let mended = plan(&assignment, &Goal::default());
    page.heading("Plan");
    for (number, step) in mended.moves.iter().enumerate() {
        page.line(Tone::Good, &format!("  {}. {step}", number + 1));
    }
    page.line(Tone::Plain, &format!("  {} moves; {}", mended.moves.len(), mended.optimality));
    for remaining in &mended.remaining {
        let because: Vec<String> = remaining.because.iter().map(ToString::to_string).collect();
        page.line(Tone::Warn, &format!("  remains: {} {}: {}", remaining.count(), remaining.kind, because.join("; ")));
    }
    let activity = host.activity().map_err(Failure::new)?;
    let scenario = Replayed::default().scenario(&host, &activity);
    let before = run(&scenario, VectorPolicy::Recorded)?;
    let after = run(&scenario, VectorPolicy::Planned)?;
    effect(page, &before, &after);
    Ok(())
}

/// The bound sources sent to `cpu`, in the order its local APIC serves them.
fn vectors(page: &mut Page, assignment: &Assignment, cpu: CpuId) {
    let mut here: Vec<&AssignedSource> =
        assignment.sources.iter().filter(|source| source.is_bound() && source.target.contains(cpu)).collect();
    here.sort_by_key(|source| core::cmp::Reverse(source.vector.number()));
    page.heading(&format!("Vectors on pCPU {cpu}, in the order of service"));
    let rows = here.into_iter().map(|source| {
        let tone = if source.owner.is_guest() { Tone::Warn } else { Tone::Plain };
        vec![
            Piece::toned(source.vector.to_string(), tone),
            source.vector.class().to_string().into(),
            source.id.0.to_string().into(),
            Piece::toned(source.owner.to_string(), tone),
            source.label.clone().into(),
            source.kind.to_string().into(),
        ]
    });
    page.table(&["vector", "class", "IRQ", "owner", "device", "kind"], rows.collect());
}

fn harms(page: &mut Page, assignment: &Assignment, found: &[Inversion]) {
    page.heading("Where a guest outranks dom0 or can hold it back");
    let rows = found.iter().map(|inversion| {
        vec![
            Piece::toned(inversion.kind.to_string(), Tone::Bad),
            name(assignment, inversion.guest).into(),
            name(assignment, inversion.dom0).into(),
            inversion.cpus.to_string().into(),
        ]
    });
    page.table(&["what", "guest's", "dom0's", "pCPUs"], rows.collect());
    let retaining: Vec<String> = assignment
        .sources
        .iter()
        .filter(|source| source.guest_can_retain(assignment.ioapic_ack))
        .map(|source| name(assignment, source.id))
        .collect();
    if retaining.is_empty() {
        page.line(Tone::Good, "No source of a guest keeps the in-service bit: each is edge-triggered and maskable.");
    } else {
        page.line(
            Tone::Bad,
            &format!("Keeps the in-service bit until its guest is done, at most 1 ms: {}.", retaining.join(", ")),
        );
    }
}

fn name(assignment: &Assignment, id: SourceId) -> String {
    assignment.sources.iter().find(|source| source.id == id).map_or_else(
        || format!("IRQ {}", id.0),
        |source| format!("{} {} ({})", source.vector, source.label, source.owner),
    )
}

fn run(scenario: &Scenario, policy: VectorPolicy) -> Result<RunResult, Failure> {
    let scenario = Scenario { policy, ..scenario.clone() };
    Ok(Run::new(&scenario).map_err(Failure::new)?.to_end(|_| {}))
}

fn effect(page: &mut Page, before: &RunResult, after: &RunResult) {
    page.heading("Simulated, before and after the plan");
    let dom0 = Owner::Dom0.to_string();
    let mut rows = Vec::new();
    for (was, is) in before.sources.iter().zip(&after.sources) {
        if was.raised == 0 {
            continue;
        }
        let tone = if was.owner == dom0 { Tone::Plain } else { Tone::Faint };
        rows.push(vec![
            Piece::toned(format!("{} {}", was.id, was.label), tone),
            was.owner.clone().into(),
            was.raised.to_string().into(),
            format::duration(was.host_latency.max_ns).into(),
            format::duration(is.host_latency.max_ns).into(),
        ]);
    }
    page.table(&["source", "owner", "raised", "longest wait for the host, before", "after"], rows);
    for (when, result) in [("before", before), ("after", after)] {
        let times: u64 = result.blocking.iter().map(|blocking| blocking.times).sum();
        let total: u64 = result.blocking.iter().map(|blocking| blocking.total_ns).sum();
        let longest = result.blocking.iter().map(|blocking| blocking.max_ns).max().unwrap_or(0);
        let tone = if times == 0 { Tone::Good } else { Tone::Bad };
        page.line(
            tone,
            &format!(
                "  {when}: guests kept dom0's interrupts waiting {times} times, {} in all, {} at the longest",
                format::duration(total),
                format::duration(longest)
            ),
        );
    }
}
