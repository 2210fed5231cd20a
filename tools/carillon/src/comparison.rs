//! Runs of one scenario side by side, for people and programs.

use carillon_sim::snapshot::Harms;
use std::collections::BTreeMap;

use carillon_sim::Engine;
use carillon_sim::RunResult;
use carillon_sim::Scenario;
use carillon_sim::SourceResult;
use carillon_sim::Waits;
use carillon_sim::report::format;
use serde::Serialize;
use vector_allocator::Owner;

use crate::harm;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// The most rows of one table a page shows, by who suffers most; JSON has all.
const SHOWN: usize = 24;

/// Runs of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    scenario: String,
    about: String,
    /// What is to be seen in it.
    expect: Vec<String>,
    /// Where guests outrank dom0 or can hold it back, as the scenario stands.
    harms: Harms,
    duration_ms: f64,
    seed: u64,
    load: f64,
    /// Costs that differ from their defaults, ns.
    costs_ns: BTreeMap<String, u64>,
    /// The results, in the order asked for.
    pub(crate) runs: Vec<RunResult>,
    /// What could not be run.
    pub(crate) impossible: Vec<Impossible>,
}

/// A policy, path and engine under which a scenario cannot be.
#[derive(Debug, Serialize)]
pub(crate) struct Impossible {
    /// The policy.
    pub(crate) policy: &'static str,
    /// The path.
    pub(crate) path: &'static str,
    /// The engine.
    pub(crate) engine: &'static str,
    /// What stops it.
    pub(crate) why: String,
}

impl Comparison {
    /// One without runs yet.
    pub(crate) fn new(scenario: &Scenario, harms: Harms) -> Self {
        Self {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            expect: scenario.expect.clone(),
            harms,
            duration_ms: scenario.duration_ms,
            seed: scenario.seed,
            load: scenario.load,
            costs_ns: scenario.costs_ns.clone(),
            runs: Vec::new(),
            impossible: Vec::new(),
        }
    }

    /// The same without what only a report draws.
    pub(crate) fn without_timelines(mut self) -> Self {
        for run in &mut self.runs {
            run.timeline.clear();
        }
        self
    }

    /// Writes all of it to a page.
    pub(crate) fn show(&self, page: &mut Page) {
        page.title(&self.scenario);
        page.line(Tone::Plain, &self.about);
        let costs: Vec<String> = self.costs_ns.iter().map(|(name, ns)| format!("{name} = {ns} ns")).collect();
        let costs = if costs.is_empty() { "costs: defaults".to_owned() } else { costs.join(", ") };
        let time =
            format!("{} ms of virtual time, seed {}, load × {}; {costs}", self.duration_ms, self.seed, self.load);
        page.line(Tone::Faint, &time);
        for impossible in &self.impossible {
            let Impossible { policy, path, engine, why } = impossible;
            page.line(Tone::Warn, &format!("Not run: {policy}/{path}/{engine}: {why}"));
        }
        harm::show(&self.harms, page);
        self.show_sources(page);
        self.show_waiting(page);
        self.show_engines(page);
        self.show_exits(page);
        self.show_event_channels(page);
        self.show_retention(page);
        self.show_scheduling(page);
        if !self.expect.is_empty() {
            page.heading("What to look for");
            for sentence in &self.expect {
                page.line(Tone::Plain, &format!("  • {sentence}"));
            }
        }
    }

    /// Writes dom0's waits to a page: one line a run.
    pub(crate) fn show_verdicts(&self, page: &mut Page) {
        for run in &self.runs {
            let Waits { times, total_ns, longest_ns } = run.waits();
            let name = self.name(run);
            if run.sources.iter().all(|source| source.raised == 0) {
                let text = "no interrupt came, so nothing can be said; a recording needs xentrace.bin to be replayed";
                page.line(Tone::Warn, &format!("  {name}: {text}"));
                continue;
            }
            let failed: u64 = run.sources.iter().map(|source| source.failed_moves).sum();
            if failed > 0 {
                let text = format!(
                    "interrupts that could not follow their vCPU, for want of a vector: {}",
                    format::count(failed)
                );
                page.line(Tone::Warn, &format!("  {name}: {text}"));
            }
            if times == 0 {
                page.line(Tone::Good, &format!("  {name}: no guest's interrupt kept one of dom0's waiting"));
                continue;
            }
            let times = if times == 1 { "once".to_owned() } else { format!("{} times", format::count(times)) };
            page.line(
                Tone::Bad,
                &format!(
                    "  {name}: guests' interrupts kept dom0's waiting {times}, {} in all, {} at the longest",
                    format::duration(total_ns),
                    format::duration(longest_ns)
                ),
            );
        }
    }

    /// Writes per source how long the host took to reach it, a column a run.
    pub(crate) fn show_host_latency(&self, page: &mut Page) {
        let mut head = vec!["source".to_owned(), "owner".to_owned(), "raised".to_owned()];
        head.extend(self.runs.iter().map(|run| format!("{}: longest wait for the host", self.name(run))));
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let Some(first) = self.runs.first() else { return };
        let rows = first.sources.iter().filter(|source| source.raised > 0).map(|source| {
            let tone = if source.is_dom0s() { Tone::Plain } else { Tone::Faint };
            let mut row = vec![
                Piece::toned(format!("IRQ {} {}", source.id, source.label), tone),
                source.owner.clone().into(),
                format::count(source.raised).into(),
            ];
            for run in &self.runs {
                let found = run.sources.iter().find(|other| (other.id, &other.owner) == (source.id, &source.owner));
                row.push(found.map_or_else(|| "–".to_owned(), longest_at_host).into());
            }
            row
        });
        page.table(&head, rows.collect());
    }

    fn show_sources(&self, page: &mut Page) {
        page.heading("Latency, from the interrupt to its owner's handler");
        let mut worst: BTreeMap<(u32, &str), u64> = BTreeMap::new();
        for source in self.runs.iter().flat_map(|run| &run.sources).filter(|source| source.raised > 0) {
            let entry = worst.entry((source.id, source.owner.as_str())).or_default();
            *entry = source.latency.max_ns.max(*entry);
        }
        let mut order: Vec<((u32, &str), u64)> = worst.into_iter().collect();
        order.sort_by_key(|((id, _), max)| (std::cmp::Reverse(*max), *id));
        let (dom0, others): (Vec<_>, Vec<_>) =
            order.iter().partition(|((_, owner), _)| *owner == Owner::Dom0.to_string());
        let of_each = SHOWN / 2 / self.runs.len().max(1);
        let shown: Vec<_> = dom0.iter().take(of_each.max(4)).chain(others.iter().take(of_each.max(4))).collect();
        let mut rows = Vec::new();
        for ((id, owner), _) in &shown {
            for (row, run) in self.runs.iter().enumerate() {
                let found = run.sources.iter().find(|source| (source.id, source.owner.as_str()) == (*id, *owner));
                let Some(source) = found else { continue };
                let name = if row == 0 { format!("IRQ {id} {} ({owner})", source.label) } else { String::new() };
                rows.push(self.source_row(run, source, name));
            }
        }
        page.table(&["source", "run", "vector", "pCPU", "raised", "merged", "p50", "p99", "max", "host max"], rows);
        page.line(
            Tone::Faint,
            "  merged: raised again while it still waited; host max: the longest until the host's own handler ran",
        );
        if order.len() > shown.len() {
            let more = order.len() - shown.len();
            page.line(Tone::Faint, &format!("… the worst of each side; {more} more sources are in --json"));
        }
    }

    fn source_row(&self, run: &RunResult, source: &SourceResult, name: String) -> Vec<Piece> {
        let tone = if source.is_dom0s() { Tone::Plain } else { Tone::Faint };
        vec![
            Piece::toned(name, tone),
            self.name(run).into(),
            source.vector.map_or_else(|| "–".to_owned(), format::vector).into(),
            source.cpu.to_string().into(),
            format::count(source.raised).into(),
            format::count(source.coalesced).into(),
            format::duration(source.latency.p50_ns).into(),
            format::duration(source.latency.p99_ns).into(),
            format::duration(source.latency.max_ns).into(),
            longest_at_host(source).into(),
        ]
    }

    fn show_waiting(&self, page: &mut Page) {
        page.heading("Dom0's interrupts kept waiting by guests'");
        let mut rows = Vec::new();
        let mut left_out = 0;
        for run in &self.runs {
            for wait in worst(run.blocking.iter(), |wait| wait.total_ns, self.of_each_run(), &mut left_out) {
                rows.push(vec![
                    self.name(run).into(),
                    label(run.dom0s(wait.victim), wait.victim).into(),
                    label(run.guests(wait.by), wait.by).into(),
                    Piece::toned(wait.cause.clone(), Tone::Bad),
                    format::count(wait.times).into(),
                    format::duration(wait.total_ns).into(),
                    format::duration(wait.max_ns).into(),
                ]);
            }
        }
        page.table(&["run", "dom0's", "waited for", "which was", "times", "in all", "longest"], rows);
        say_what_is_left_out(page, left_out);
        self.show_verdicts(page);
    }

    /// Writes what each engine's guests paid for their interrupts.
    fn show_engines(&self, page: &mut Page) {
        if self.runs.iter().all(|run| run.engine == Engine::Chosen.name()) {
            return;
        }
        page.heading("Engines: guests' interrupts, and what they cost");
        let row = |run: &RunResult| {
            let guests = || run.sources.iter().filter(|source| source.is_guests());
            let handled: u64 = guests().map(|source| source.completed).sum();
            let without_exit: u64 = guests().map(|source| source.without_exit).sum();
            let exits: u64 = run.exits.iter().map(|exit| exit.times).sum();
            vec![
                self.name(run).into(),
                format::count(handled).into(),
                format::count(without_exit).into(),
                format::count(exits).into(),
                format::duration(run.guests_latency.p50_ns).into(),
                format::duration(run.guests_latency.p99_ns).into(),
                format::duration(run.guests_latency.max_ns).into(),
                format::duration(run.host_ns).into(),
            ]
        };
        let head = ["run", "handled", "without an exit", "exits", "p50", "p99", "max", "host's CPU time"];
        page.table(&head, self.runs.iter().map(row).collect());
        page.line(Tone::Faint, "  without an exit: its vCPU did not exit from the raise to the end of the handler");
    }

    fn show_exits(&self, page: &mut Page) {
        let mut causes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (column, run) in self.runs.iter().enumerate() {
            for exit in run.exits.iter().filter(|exit| exit.times > 0) {
                causes.entry(&exit.name).or_insert_with(|| vec![0; self.runs.len()])[column] = exit.times;
            }
        }
        if causes.is_empty() {
            return;
        }
        page.heading("Exits, by cause");
        let mut head = vec!["cause".to_owned()];
        head.extend(self.runs.iter().map(|run| self.name(run)));
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let row = |(cause, times): (&str, Vec<u64>)| {
            [cause.into()].into_iter().chain(times.into_iter().map(|times| format::count(times).into())).collect()
        };
        page.table(&head, causes.into_iter().map(row).collect());
    }

    fn show_event_channels(&self, page: &mut Page) {
        let mut rows = Vec::new();
        let mut put_off = 0;
        for run in &self.runs {
            let mut domains: Vec<_> = run.event_channels.iter().filter(|domain| domain.sent > 0).collect();
            domains.sort_by_key(|domain| (domain.domain != Owner::Dom0.to_string(), std::cmp::Reverse(domain.sent)));
            for domain in domains.into_iter().take(SHOWN / self.runs.len().max(1) + 1) {
                put_off += domain.delayed;
                let counts = [domain.sent, domain.coalesced, domain.upcalls, domain.kicks, domain.delayed];
                let names = [self.name(run), domain.domain.clone(), domain.abi.clone()];
                let counts = counts.into_iter().map(format::count);
                rows.push(names.into_iter().chain(counts).map(Piece::from).collect());
            }
        }
        if !rows.is_empty() {
            page.heading("Event channels");
            let mut head = vec!["run", "domain", "ABI", "sent", "merged", "upcalls", "kicks"];
            match put_off {
                0 => rows.iter_mut().for_each(|row: &mut Vec<Piece>| row.truncate(head.len())),
                _ => head.push("put off"),
            }
            page.table(&head, rows);
            page.line(Tone::Faint, "  kicks: the hypervisor calls a vCPU once for each time its first event comes");
            if put_off > 0 {
                page.line(
                    Tone::Faint,
                    "  put off: events a guest took for part of a storm, and kept masked after its handler",
                );
            }
        }
    }

    fn show_retention(&self, page: &mut Page) {
        let mut rows = Vec::new();
        let mut left_out = 0;
        for run in &self.runs {
            let happened = run.retention.iter().filter(|kept| kept.times > 0);
            for kept in worst(happened, |kept| kept.total_ns, self.of_each_run(), &mut left_out) {
                rows.push(vec![
                    self.name(run).into(),
                    label(run.guests(kept.source), kept.source).into(),
                    format::count(kept.times).into(),
                    Piece::toned(format::count(kept.forced), if kept.forced > 0 { Tone::Bad } else { Tone::Plain }),
                    format::duration(kept.total_ns).into(),
                    format::duration(kept.max_ns).into(),
                ]);
            }
        }
        if !rows.is_empty() {
            page.heading("In-service bits kept past the host's handler");
            page.table(&["run", "source", "times", "ended by the host", "in all", "longest"], rows);
            say_what_is_left_out(page, left_out);
        }
    }

    fn show_scheduling(&self, page: &mut Page) {
        let mut rows = Vec::new();
        let mut left_out = 0;
        for run in &self.runs {
            let happened = run.scheduling.iter().filter(|wait| wait.times > 0);
            for wait in worst(happened, |wait| wait.total_ns, self.of_each_run(), &mut left_out) {
                rows.push(vec![
                    self.name(run).into(),
                    wait.vcpu.clone().into(),
                    wait.behind.clone().into(),
                    format::count(wait.times).into(),
                    format::duration(wait.total_ns).into(),
                    format::duration(wait.max_ns).into(),
                ]);
            }
        }
        if !rows.is_empty() {
            page.heading("The scheduler's share: dom0's vCPUs waiting for a pCPU a guest's vCPU has");
            page.table(&["run", "vCPU", "behind", "times", "in all", "longest"], rows);
            say_what_is_left_out(page, left_out);
        }
    }

    /// How many rows of a table each run may have.
    fn of_each_run(&self) -> usize {
        SHOWN / self.runs.len().max(1) + 1
    }

    /// What tells a run from the others.
    fn name(&self, run: &RunResult) -> String {
        let differ = |of: fn(&RunResult) -> &str| self.runs.iter().any(|other| of(other) != of(run));
        let parts: [fn(&RunResult) -> &str; 2] = [|run| &run.path, |run| &run.engine];
        let told = parts.into_iter().filter(|part| differ(*part)).map(|part| part(run));
        [run.policy.as_str()].into_iter().chain(told).collect::<Vec<&str>>().join(", ")
    }
}

/// The `most` worst by `how_bad`, worst first; what is not among them is counted.
fn worst<'r, T>(
    all: impl Iterator<Item = &'r T>,
    how_bad: impl Fn(&T) -> u64,
    most: usize,
    left_out: &mut usize,
) -> Vec<&'r T> {
    let mut all: Vec<&T> = all.collect();
    all.sort_by_key(|one| std::cmp::Reverse(how_bad(one)));
    *left_out += all.len().saturating_sub(most);
    all.truncate(most);
    all
}

fn say_what_is_left_out(page: &mut Page, rows: usize) {
    if rows > 0 {
        page.line(Tone::Faint, &format!("… the worst of each run; {rows} more are in --json"));
    }
}

/// The longest wait for the host's handler; a posted source has none.
fn longest_at_host(source: &SourceResult) -> String {
    if source.host_latency.count == 0 { "–".to_owned() } else { format::duration(source.host_latency.max_ns) }
}

fn label(source: Option<&SourceResult>, id: u32) -> String {
    source.map_or_else(|| format!("IRQ {id}"), |source| format!("IRQ {id} {} ({})", source.label, source.owner))
}
