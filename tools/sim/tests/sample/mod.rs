//! A report as a real host gives it: dom0's SAS controller beside a guest whose level-triggered line keeps its
//! in-service bit, before and after a plan. The figures are made by a seeded generator, so every test sees the same.

use carillon_sim::Blocking;
use carillon_sim::Count;
use carillon_sim::Lane;
use carillon_sim::Latency;
use carillon_sim::Retention;
use carillon_sim::RunResult;
use carillon_sim::SourceResult;
use carillon_sim::SpanKind;
use carillon_sim::TimelineSpan;
use carillon_sim::Waiting;
use carillon_sim::report::Finding;
use carillon_sim::report::MoveRow;
use carillon_sim::report::Parameter;
use carillon_sim::report::PlanRows;
use carillon_sim::report::Report;
use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// How long the sample runs, ns.
pub(crate) const DURATION_NS: u64 = 400_000_000;

const SEED: u64 = 2013;
const SAS: u32 = 25;
const SAS_LINE: u32 = 21;
const GUEST_LINE: u32 = 23;
const NIC: u32 = 26;

/// The whole report.
pub(crate) fn report() -> Report {
    let finding = |kind: &str, guest: &str, dom0: &str| Finding {
        kind: kind.to_owned(),
        guest: guest.to_owned(),
        dom0: dom0.to_owned(),
        cpus: "3".to_owned(),
    };
    let possible = finding("possible", "nic-rx (D8)", "megaraid_sas (C8)");
    Report {
        title: "xen-sas-intx, recorded host with 4 pCPUs".to_owned(),
        about: vec!["A guest's level-triggered card beside dom0's SAS controller.".to_owned()],
        version: "0.1.0".to_owned(),
        seed: SEED,
        results: vec![run("recorded"), run("planned")],
        plan: PlanRows {
            moves: vec![
                MoveRow {
                    source: "e1000 INTx of intxguest".to_owned(),
                    from_vector: 0xd0,
                    from_cpu: 3,
                    to_vector: 0x28,
                    to_cpu: 3,
                    reason: "level-triggered: it retains the in-service bit and blocks C8 and B8 on pCPU 3".to_owned(),
                },
                MoveRow {
                    source: "nic-rx of nicguest".to_owned(),
                    from_vector: 0xd8,
                    from_cpu: 0,
                    to_vector: 0x31,
                    to_cpu: 0,
                    reason: "ranks above megaraid_sas (C8) as soon as the two share a pCPU".to_owned(),
                },
            ],
            remaining: Vec::new(),
        },
        before: vec![
            finding("retention", "e1000 INTx (D0)", "megaraid_sas (C8)"),
            finding("retention", "e1000 INTx (D0)", "mptsas (B8)"),
            finding("rank", "e1000 INTx (D0)", "megaraid_sas (C8)"),
            finding("rank", "e1000 INTx (D0)", "mptsas (B8)"),
            possible.clone(),
        ],
        after: vec![possible],
        parameters: vec![
            parameter("host handler", 1_200.0, "ns", "estimate: interrupt entry, pirq lookup, event raise"),
            parameter("forced EOI", 1_000_000.0, "ns", "Xen: irq_guest_eoi_timer_fn"),
            parameter("rate limit", 1_000.0, "µs", "Xen: sched_ratelimit_us"),
        ],
    }
}

fn parameter(name: &str, value: f64, unit: &str, source: &str) -> Parameter {
    Parameter { name: name.to_owned(), value, unit: unit.to_owned(), source: source.to_owned() }
}

/// One run: with the policy `recorded` the guest's line holds dom0 back, with any other it does not.
pub(crate) fn run(policy: &str) -> RunResult {
    let harmful = policy == "recorded";
    let mut random = StdRng::seed_from_u64(SEED);
    let timeline = timeline(harmful, &mut random);
    let waits = durations(&timeline, SpanKind::Dom0Blocked);
    let kept = durations(&timeline, SpanKind::Retention);
    let tail = if harmful { 60.0 } else { 1.4 };
    let (line, nic) = if harmful { (0xd0, 0xd8) } else { (0x28, 0x31) };
    RunResult {
        scenario: "xen-sas-intx".to_owned(),
        policy: policy.to_owned(),
        path: "as-is".to_owned(),
        engine: "chosen".to_owned(),
        host_ns: 0,
        guests_latency: Latency::default(),
        load: 1.0,
        seed: SEED,
        duration_ns: DURATION_NS,
        events: 184_223,
        trace_hash: 0x5eed,
        cpus: 4,
        sources: vec![
            source(SAS, "megaraid_sas", "dom0", 0xc8, 9_000.0, tail, &mut random),
            source(SAS_LINE, "mptsas", "dom0", 0xb8, 12_000.0, tail, &mut random),
            source(NIC, "nic-rx", "d2", nic, 7_000.0, 2.0, &mut random),
            source(GUEST_LINE, "e1000 INTx", "d1", line, 14_000.0, 3.0, &mut random),
        ],
        blocking: if harmful {
            vec![
                blocking(SAS, GUEST_LINE, "in service", &waits),
                blocking(SAS_LINE, NIC, "served first", &[1_200, 1_350, 900]),
                blocking(SAS, NIC, "handler running", &[640, 1_100]),
            ]
        } else {
            vec![blocking(SAS, NIC, "handler running", &[610, 1_180])]
        },
        event_channels: Vec::new(),
        exits: vec![
            count("external interrupt", 41_877),
            count("EOI", if harmful { 12_044 } else { 12_102 }),
            count("halt", 9_310),
            count("preempted", 388),
        ],
        retention: vec![Retention {
            source: GUEST_LINE,
            times: kept.len() as u64,
            forced: 3,
            total_ns: kept.iter().sum(),
            max_ns: kept.iter().copied().max().unwrap_or(0),
        }],
        scheduling: vec![Waiting {
            vcpu: "d0v1".to_owned(),
            behind: "d1v0".to_owned(),
            times: 212,
            total_ns: 88_400_000,
            max_ns: 998_000,
        }],
        timeline,
        timeline_is_cut: false,
    }
}

fn count(name: &str, times: u64) -> Count {
    Count { name: name.to_owned(), times }
}

fn durations(timeline: &[Lane], kind: SpanKind) -> Vec<u64> {
    let spans = timeline.iter().flat_map(|lane| &lane.spans).filter(|span| span.kind == kind);
    spans.map(|span| span.end_ns - span.start_ns).collect()
}

fn blocking(victim: u32, by: u32, cause: &str, waits: &[u64]) -> Blocking {
    Blocking {
        victim,
        by,
        cause: cause.to_owned(),
        times: waits.len() as u64,
        total_ns: waits.iter().sum(),
        max_ns: waits.iter().copied().max().unwrap_or(0),
    }
}

fn source(id: u32, label: &str, owner: &str, vector: u8, median: f64, tail: f64, random: &mut StdRng) -> SourceResult {
    let samples = 4_000;
    let latency = distribution(samples, median, tail, random);
    let host_latency = distribution(samples, median / 8.0, tail, random);
    SourceResult {
        id,
        label: label.to_owned(),
        owner: owner.to_owned(),
        vector: Some(vector),
        cpu: 3,
        raised: samples,
        coalesced: 31,
        completed: samples - 31,
        without_exit: 0,
        moves: 0,
        failed_moves: 0,
        throttled: 0,
        latency,
        host_latency,
    }
}

/// Most samples near the median, one in a hundred `tail` times as long.
fn distribution(samples: u64, median: f64, tail: f64, random: &mut StdRng) -> Latency {
    let mut values: Vec<u64> = (0..samples)
        .map(|_| {
            let near = median * (0.6 + random.random::<f64>() * 0.8 + random.random::<f64>().powi(6));
            let late = if random.random::<f64>() < 0.02 { random.random::<f64>() * tail } else { 0.0 };
            whole(near * (1.0 + late)) as u64
        })
        .collect();
    values.sort_unstable();
    let at = |share: f64| values[whole((samples - 1) as f64 * share)];
    let shares = (0..=99).map(|step| f64::from(step) / 100.0).chain([0.995, 0.999, 0.9999, 1.0]);
    Latency {
        count: samples,
        p50_ns: at(0.5),
        p99_ns: at(0.99),
        max_ns: at(1.0),
        mean_ns: (values.iter().sum::<u64>() / samples) as f64,
        cdf: shares.map(|share| (at(share), share)).collect(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "every sample is far below 2^32")]
fn whole(value: f64) -> usize {
    value.round() as usize
}

fn timeline(harmful: bool, random: &mut StdRng) -> Vec<Lane> {
    (0..4).map(|cpu| Lane { cpu, spans: lane(cpu, harmful, random) }).collect()
}

fn lane(cpu: u32, harmful: bool, random: &mut StdRng) -> Vec<TimelineSpan> {
    let mut spans = Vec::new();
    let mut now = u64::from(cpu) * 1_700;
    while now < DURATION_NS - 2_000_000 {
        let end = now + random.random_range(300_000..1_400_000);
        let whose = if random.random::<f64>() < 0.55 { format!("d0v{cpu}") } else { "d1v0".to_owned() };
        spans.push(span(now, end, SpanKind::Vcpu, &whose));
        let mut at = now + random.random_range(5_000..60_000);
        while at + 4_000 < end {
            let took = random.random_range(900..2_600);
            let guest = cpu == 3 && random.random::<f64>() < 0.06;
            let line = if harmful { "e1000 INTx D0" } else { "e1000 INTx 28" };
            spans.push(span(at, at + took, SpanKind::HostHandler, if guest { line } else { "megaraid_sas C8" }));
            if guest {
                let kept = random.random_range(20_000..1_000_000);
                spans.push(span(at + took, at + took + kept, SpanKind::Retention, line));
                if harmful && random.random::<f64>() < 0.5 {
                    let from = at + took + kept / 4;
                    spans.push(span(
                        from,
                        at + took + kept,
                        SpanKind::Dom0Blocked,
                        "megaraid_sas C8 waits for e1000 INTx D0",
                    ));
                }
            }
            at += random.random_range(60_000..240_000);
        }
        now = end + random.random_range(1_000..90_000);
    }
    spans.sort_by_key(|span| span.start_ns);
    spans
}

fn span(start_ns: u64, end_ns: u64, kind: SpanKind, label: &str) -> TimelineSpan {
    TimelineSpan { start_ns, end_ns, kind, label: label.to_owned() }
}
