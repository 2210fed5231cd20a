//! The trace as Perfetto reads it: every span once, to the nanosecond, and nested where it must nest.

mod sample;

use std::collections::BTreeMap;

use carillon_sim::RunResult;
use carillon_sim::SpanKind;
use carillon_sim::report;
use serde_json::Value;

fn trace(run: &RunResult) -> Vec<Value> {
    let mut json = Vec::new();
    report::perfetto(run, &mut json).expect("a trace");
    let trace: Value = serde_json::from_slice(&json).expect("JSON");
    trace["traceEvents"].as_array().expect("a list").clone()
}

/// A time of the trace in whole nanoseconds.
fn nanoseconds(value: &Value) -> u64 {
    let exact = value.as_f64().expect("a number") * 1e3;
    assert!((exact - exact.round()).abs() < 1e-3, "{value} lies between two nanoseconds");
    format!("{exact:.0}").parse().expect("a time from zero on")
}

#[test]
fn every_span_is_in_the_trace_to_the_nanosecond() {
    let run = sample::report().results.remove(0);
    let events = trace(&run);
    let mut begun = BTreeMap::new();
    let mut told: Vec<(u64, u64, u64, String)> = Vec::new();
    for event in &events {
        let pid = event["pid"].as_u64().expect("a process");
        let name = event["name"].as_str().expect("a name").to_owned();
        match event["ph"].as_str().expect("a phase") {
            "X" => {
                let start = nanoseconds(&event["ts"]);
                told.push((pid - 1, start, start + nanoseconds(&event["dur"]), name));
            }
            "b" => {
                let key = (event["cat"].to_string(), event["id"].as_u64().expect("an id"));
                assert_eq!(begun.insert(key, nanoseconds(&event["ts"])), None, "an id begins twice");
            }
            "e" => {
                let key = (event["cat"].to_string(), event["id"].as_u64().expect("an id"));
                let start = begun.remove(&key).expect("it began before");
                told.push((pid - 1, start, nanoseconds(&event["ts"]), name));
            }
            phase => assert_eq!(phase, "M"),
        }
    }
    assert!(begun.is_empty(), "{begun:?} never end");
    let mut known: Vec<_> = Vec::new();
    for lane in &run.timeline {
        known.extend(
            lane.spans.iter().map(|span| (u64::from(lane.cpu), span.start_ns, span.end_ns, span.label.clone())),
        );
    }
    told.sort();
    known.sort();
    assert_eq!(told, known);
}

#[test]
fn complete_events_of_one_thread_nest() {
    let mut open: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    let mut seen = 0;
    for event in trace(&sample::run("recorded")).iter().filter(|event| event["ph"] == "X") {
        let thread = (event["pid"].as_u64().expect("a process"), event["tid"].as_u64().expect("a thread"));
        let (start, lasted) = (nanoseconds(&event["ts"]), nanoseconds(&event["dur"]));
        let stack = open.entry(thread).or_default();
        while stack.last().is_some_and(|end| *end <= start) {
            stack.pop();
        }
        assert!(stack.last().is_none_or(|end| *end >= start + lasted), "{event} leaves the one around it");
        stack.push(start + lasted);
        seen += 1;
    }
    assert!(seen > 1_000);
}

#[test]
fn of_two_spans_that_start_at_once_the_longer_comes_first() {
    let mut run = sample::run("recorded");
    run.timeline.truncate(1);
    let mut spans = run.timeline[0].spans.iter().filter(|span| span.kind == SpanKind::HostHandler).cloned();
    let (mut inner, mut outer) = (spans.next().expect("a span"), spans.next().expect("another"));
    drop(spans);
    (inner.start_ns, inner.end_ns, outer.start_ns, outer.end_ns) = (10, 20, 10, 90);
    outer.label = "outer".to_owned();
    run.timeline[0].spans = vec![inner, outer];
    let first = trace(&run).into_iter().find(|event| event["ph"] == "X").expect("a span");
    assert_eq!(first["name"], "outer");
}

#[test]
fn every_lane_has_a_name_and_its_place() {
    let run = sample::run("planned");
    let events = trace(&run);
    for lane in &run.timeline {
        let of_lane = |name: &str| {
            let pid = u64::from(lane.cpu) + 1;
            events.iter().find(|event| event["ph"] == "M" && event["pid"] == pid && event["name"] == name)
        };
        assert_eq!(of_lane("process_name").expect("a name")["args"]["name"], format!("pCPU {} (planned)", lane.cpu));
        assert_eq!(of_lane("process_sort_index").expect("a place")["args"]["sort_index"], lane.cpu);
        assert_eq!(of_lane("thread_name").expect("a thread")["args"]["name"], "vCPU");
    }
}
