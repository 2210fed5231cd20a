//! A report of what the engine really returns, not of made-up figures.

use carillon_sim::Run;
use carillon_sim::RunResult;
use carillon_sim::Shipped;
use carillon_sim::SpanKind;
use carillon_sim::SpanLimit;
use carillon_sim::report;
use carillon_sim::report::PlanRows;
use carillon_sim::report::Report;
use serde_json::Value;

fn run() -> RunResult {
    let shipped = Shipped::named("retention").expect("a shipped scenario");
    let scenario = shipped.scenario().expect("it is well formed");
    Run::with_timeline(&scenario, SpanLimit(20_000)).expect("it can be built").to_end(|_| {})
}

#[test]
fn a_run_of_the_retention_scenario_makes_a_page_and_a_trace() {
    let recorded = run();
    let spans: Vec<_> = recorded.timeline.iter().flat_map(|lane| &lane.spans).collect();
    assert!(spans.iter().any(|span| span.kind == SpanKind::Dom0Blocked), "the scenario no longer blocks dom0");
    assert!(
        spans.iter().any(|span| span.kind == SpanKind::Vcpu && span.label.starts_with("d0v")),
        "a vCPU has another name"
    );

    let mut json = Vec::new();
    report::perfetto(&recorded, &mut json).expect("a trace");
    let trace: Value = serde_json::from_slice(&json).expect("JSON");
    let told = trace["traceEvents"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|event| event["ph"] == "X" || event["ph"] == "b");
    assert_eq!(told.count(), spans.len());

    let report = Report {
        title: "retention".to_owned(),
        about: vec!["Dom0 waits while <the guest> is slow.".to_owned()],
        version: "test".to_owned(),
        seed: recorded.seed,
        results: vec![recorded],
        plan: PlanRows::default(),
        before: Vec::new(),
        after: Vec::new(),
        parameters: Vec::new(),
    };
    let page = report::html(&report).expect("a page");
    assert!(page.contains("<p>Dom0 waits while &lt;the guest&gt; is slow.</p>"), "what it is about comes first");
    assert!(page.contains("in service"), "the cause is not named");
    assert!(page.contains("The view starts around dom0&#39;s longest wait"));
}
