//! The tables: everything the charts show, in figures, and what has no chart.

use std::collections::BTreeSet;

use super::charts::run_name;
use super::format;
use super::model::Finding;
use super::model::Parameter;
use super::model::PlanRows;
use super::page::Column::Number;
use super::page::Column::Text;
use super::page::table;
use crate::RunResult;
use crate::SourceResult;

/// The most findings a report lists; its cards count all.
const FINDINGS: usize = 200;

/// Who kept whom waiting, per run, the longest total first.
pub(super) fn blocking(runs: &[RunResult]) -> String {
    let mut rows: Vec<(usize, u64, Vec<String>)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        for one in &run.blocking {
            let row = vec![
                run_name(run),
                label(run.dom0s(one.victim), one.victim),
                label(run.guests(one.by), one.by),
                one.cause.clone(),
                format::count(one.times),
                format::duration(one.total_ns),
                format::share(one.total_ns, run.duration_ns),
                format::duration(one.max_ns),
            ];
            rows.push((index, one.total_ns, row));
        }
    }
    rows.sort_by_key(|(index, total, _)| (*index, std::cmp::Reverse(*total)));
    let head = [
        ("run", Text),
        ("dom0's source", Text),
        ("kept waiting by", Text),
        ("how", Text),
        ("times", Number),
        ("in all", Number),
        ("of the run", Number),
        ("longest", Number),
    ];
    let rows: Vec<_> = rows.into_iter().map(|(.., row)| row).collect();
    table(&head, &rows, "No guest's interrupt kept one of dom0's waiting in any run.")
}

/// In-service bits kept past the host's handler.
pub(super) fn retention(runs: &[RunResult]) -> String {
    let rows: Vec<_> = runs
        .iter()
        .flat_map(|run| {
            run.retention.iter().map(|one| {
                vec![
                    run_name(run),
                    label(run.guests(one.source), one.source),
                    format::count(one.times),
                    format::count(one.forced),
                    format::duration(one.total_ns),
                    format::duration(one.max_ns),
                ]
            })
        })
        .collect();
    let head = [
        ("run", Text),
        ("source", Text),
        ("times", Number),
        ("ended by the host", Number),
        ("in all", Number),
        ("longest", Number),
    ];
    table(&head, &rows, "No source kept its in-service bit past the host's handler.")
}

/// Dom0 vCPUs that waited for a CPU: the scheduler's share, which no vector changes.
pub(super) fn scheduling(runs: &[RunResult]) -> String {
    let rows: Vec<_> = runs
        .iter()
        .flat_map(|run| {
            run.scheduling.iter().map(|one| {
                vec![
                    run_name(run),
                    one.vcpu.clone(),
                    one.behind.clone(),
                    format::count(one.times),
                    format::duration(one.total_ns),
                    format::duration(one.max_ns),
                ]
            })
        })
        .collect();
    let head =
        [("run", Text), ("vCPU", Text), ("behind", Text), ("times", Number), ("in all", Number), ("longest", Number)];
    table(&head, &rows, "No vCPU of dom0 waited for a CPU that a guest's kept.")
}

/// Exits per cause, a column per run.
pub(super) fn exits(runs: &[RunResult]) -> String {
    let mut causes: Vec<&str> = Vec::new();
    for count in runs.iter().flat_map(|run| &run.exits) {
        if !causes.contains(&count.name.as_str()) {
            causes.push(&count.name);
        }
    }
    let times = |run: &RunResult, cause: &str| {
        run.exits.iter().find(|count| count.name == cause).map_or(0, |count| count.times)
    };
    let rows: Vec<_> = causes
        .iter()
        .map(|cause| {
            let mut row = vec![(*cause).to_owned()];
            row.extend(runs.iter().map(|run| format::count(times(run, cause))));
            row
        })
        .collect();
    let names: Vec<String> = runs.iter().map(run_name).collect();
    let mut head = vec![("cause", Text)];
    head.extend(names.iter().map(|name| (name.as_str(), Number)));
    table(&head, &rows, "No running vCPU lost its CPU to the host.")
}

/// Every source of every run with its latency from raise to its owner's handler.
pub(super) fn sources(runs: &[RunResult]) -> String {
    let mut rows: Vec<(u32, Vec<String>)> = Vec::new();
    for run in runs {
        for source in &run.sources {
            let row = vec![
                source.label.clone(),
                source.owner.clone(),
                run_name(run),
                source.vector.map_or_else(|| "–".to_owned(), format::vector),
                source.cpu.to_string(),
                format::count(source.raised),
                format::count(source.coalesced),
                format::duration(source.latency.p50_ns),
                format::duration(source.latency.p99_ns),
                format::duration(source.latency.max_ns),
            ];
            rows.push((source.id, row));
        }
    }
    rows.sort_by_key(|(id, _)| *id);
    let head = [
        ("source", Text),
        ("owner", Text),
        ("run", Text),
        ("vector", Text),
        ("pCPU", Number),
        ("raised", Number),
        ("coalesced", Number),
        ("p50", Number),
        ("p99", Number),
        ("longest", Number),
    ];
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    table(&head, &rows, "No source was raised.")
}

/// The planned moves.
pub(super) fn moves(plan: &PlanRows) -> String {
    let rows: Vec<_> = plan
        .moves
        .iter()
        .enumerate()
        .map(|(index, step)| {
            vec![
                (index + 1).to_string(),
                step.source.clone(),
                format!("{} on pCPU {}", format::vector(step.from_vector), step.from_cpu),
                format!("{} on pCPU {}", format::vector(step.to_vector), step.to_cpu),
                step.reason.clone(),
            ]
        })
        .collect();
    table(
        &[("step", Number), ("source", Text), ("from", Text), ("to", Text), ("why", Text)],
        &rows,
        "Nothing has to be moved.",
    )
}

/// What the plan leaves; nothing at all if it leaves nothing.
pub(super) fn remaining(plan: &PlanRows) -> String {
    if plan.remaining.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = plan.remaining.iter().map(|one| vec![one.what.clone(), one.constraint.clone()]).collect();
    format!("<h3>What no move can mend</h3>\n{}", table(&[("what remains", Text), ("what stops it", Text)], &rows, ""))
}

/// Where guests outrank or can hold back dom0, before and after: what stays or is new first, since a person has to act on it.
pub(super) fn findings(before: &[Finding], after: &[Finding]) -> String {
    let were: BTreeSet<&Finding> = before.iter().collect();
    let are: BTreeSet<&Finding> = after.iter().collect();
    let new = after.iter().filter(|finding| !were.contains(finding)).map(|finding| (finding, "new"));
    let stays = before.iter().filter(|finding| are.contains(finding)).map(|finding| (finding, "stays"));
    let mended = before.iter().filter(|finding| !are.contains(finding)).map(|finding| (finding, "mended"));
    let row = |(finding, becomes): (&Finding, &str)| {
        vec![
            finding.kind.clone(),
            finding.guest.clone(),
            finding.dom0.clone(),
            finding.cpus.clone(),
            becomes.to_owned(),
        ]
    };
    let all: Vec<_> = new.chain(stays).chain(mended).collect();
    let rows: Vec<_> = all.iter().take(FINDINGS).copied().map(row).collect();
    let head =
        [("kind", Text), ("guest's source", Text), ("dom0's source", Text), ("pCPUs", Text), ("by the plan", Text)];
    let listed = table(&head, &rows, "No guest outranks dom0 or can hold it back.");
    match all.len().saturating_sub(FINDINGS) {
        0 => listed,
        more => format!("{listed}<p class=\"note\">… and {} more.</p>\n", format::count(more as u64)),
    }
}

/// The costs every run was reckoned with.
pub(super) fn parameters(parameters: &[Parameter]) -> String {
    let row = |one: &Parameter| vec![one.name.clone(), one.value.to_string(), one.unit.clone(), one.source.clone()];
    let rows: Vec<_> = parameters.iter().map(row).collect();
    table(
        &[("parameter", Text), ("value", Number), ("unit", Text), ("source", Text)],
        &rows,
        "No parameter was recorded.",
    )
}

/// What a person calls a source, with its vector: `megaraid_sas (C8)`.
fn label(source: Option<&SourceResult>, id: u32) -> String {
    match source {
        Some(source) => match source.vector {
            Some(vector) => format!("{} ({})", source.label, format::vector(vector)),
            None => source.label.clone(),
        },
        None => format!("IRQ {id}"),
    }
}
