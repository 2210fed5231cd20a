//! A run's timeline as a Chrome trace, for <https://ui.perfetto.dev> and `chrome://tracing`.
//!
//! Each CPU is a process with a thread for vCPUs and one for host handlers, whose spans nest. Retention and waiting
//! overlap freely, so they are asynchronous events with an id each. Format: "Trace Event Format" (the Catapult
//! project); times are µs, their fractions keep the nanoseconds.

use std::io::Write;

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeSeq;

use super::ReportError;
use super::charts;
use crate::Lane;
use crate::RunResult;
use crate::SpanKind;

#[derive(Serialize)]
struct Trace<'a> {
    #[serde(rename = "traceEvents", serialize_with = "events")]
    run: &'a RunResult,
    #[serde(rename = "displayTimeUnit")]
    unit: &'static str,
    #[serde(rename = "otherData")]
    about: About<'a>,
}

#[derive(Serialize)]
struct About<'a> {
    scenario: &'a str,
    policy: &'a str,
    path: &'a str,
    seed: u64,
}

/// One line of the trace. Fields are named as the format names them.
#[derive(Debug, Serialize)]
struct Event<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    ph: &'static str,
    pid: u64,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Args>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Args {
    Name(String),
    SortIndex(u64),
}

/// How a kind of span is drawn: the thread's number and name, and its category.
fn track(kind: SpanKind) -> (u64, &'static str, &'static str) {
    match kind {
        SpanKind::Vcpu => (1, "vCPU", "vcpu"),
        SpanKind::HostHandler => (2, "host handler", "handler"),
        SpanKind::Retention => (3, "in service", "retention"),
        SpanKind::Dom0Blocked => (4, "dom0 waits", "blocked"),
    }
}

/// Writes `run`'s timeline as JSON to `out`.
///
/// # Errors
/// [`ReportError::Trace`] when `out` cannot be written.
pub fn perfetto(run: &RunResult, out: impl Write) -> Result<(), ReportError> {
    let about = About { scenario: &run.scenario, policy: &run.policy, path: &run.path, seed: run.seed };
    let trace = Trace { run, unit: "ns", about };
    serde_json::to_writer(out, &trace).map_err(|source| ReportError::Trace { scenario: run.scenario.clone(), source })
}

/// Event by event: a long trace is never held twice.
fn events<S: Serializer>(run: &RunResult, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    let mut next_id = 1;
    for lane in &run.timeline {
        for event in names(run, lane) {
            list.serialize_element(&event)?;
        }
        for event in spans(lane, &mut next_id) {
            list.serialize_element(&event)?;
        }
    }
    list.end()
}

/// The names of a lane's process and threads, and its place.
fn names(run: &RunResult, lane: &Lane) -> Vec<Event<'static>> {
    let pid = process(lane);
    let metadata =
        |name, tid, args| Event { name, cat: None, ph: "M", pid, tid, ts: None, dur: None, id: None, args: Some(args) };
    let mut events = vec![
        metadata("process_name", 0, Args::Name(format!("pCPU {} ({})", lane.cpu, charts::run_name(run)))),
        metadata("process_sort_index", 0, Args::SortIndex(u64::from(lane.cpu))),
    ];
    for kind in [SpanKind::Vcpu, SpanKind::HostHandler] {
        let (tid, name, _) = track(kind);
        events.push(metadata("thread_name", tid, Args::Name(name.to_owned())));
    }
    events
}

/// A lane's spans in order of time; where two start at once, the longer first, as nesting wants it.
fn spans<'a>(lane: &'a Lane, next_id: &mut u64) -> Vec<Event<'a>> {
    let pid = process(lane);
    let mut events = Vec::with_capacity(lane.spans.len());
    for span in &lane.spans {
        let (tid, _, category) = track(span.kind);
        let end_ns = span.end_ns.max(span.start_ns);
        let (start, end) = (microseconds(span.start_ns), microseconds(end_ns));
        let event = |ph, ts, dur, id| Event {
            name: &span.label,
            cat: Some(category),
            ph,
            pid,
            tid,
            ts: Some(ts),
            dur,
            id,
            args: None,
        };
        match span.kind {
            SpanKind::Vcpu | SpanKind::HostHandler => {
                let lasted = microseconds(end_ns - span.start_ns);
                events.push((span.start_ns, std::cmp::Reverse(end_ns), event("X", start, Some(lasted), None)));
            }
            SpanKind::Retention | SpanKind::Dom0Blocked => {
                let id = Some(*next_id);
                *next_id += 1;
                events.push((span.start_ns, std::cmp::Reverse(end_ns), event("b", start, None, id)));
                events.push((end_ns, std::cmp::Reverse(end_ns), event("e", end, None, id)));
            }
        }
    }
    events.sort_by_key(|(at, until, _)| (*at, *until));
    events.into_iter().map(|(.., event)| event).collect()
}

/// Process 0 is the tracing program itself in some viewers.
fn process(lane: &Lane) -> u64 {
    u64::from(lane.cpu) + 1
}

fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1e3
}
