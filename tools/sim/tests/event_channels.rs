//! What a scenario says about event channels, and what its runs show of it.

use carillon_sim::EventTraffic;
use carillon_sim::Run;
use carillon_sim::RunResult;
use carillon_sim::Scenario;
use proptest::prelude::ProptestConfig;
use proptest::prelude::any;
use proptest::proptest;

/// A guest that two backends flood: events come every 15 µs, their handlers take 20 µs. Beside them a device of its own.
const FLOOD: &str = r#"name = "flood"
duration_ms = 90
[host]
cpus = 2
[[domain]]
id = 1
name = "guest"
kind = "hvm"
vcpu = [{ affinity = "1" }]
[[source]]
id = 100
label = "backend"
copies = 2
domain = 1
kind = "software"
handler_us = 20
workload.periodic = { period_us = 30.0 }
[[source]]
id = 7
label = "disk"
domain = 1
path = "event"
handler_us = 5
workload.poisson = { rate_per_s = 200 }
"#;

/// Devices and backends of which each waits for its own handler.
const CLOSED: &str = r#"name = "closed"
duration_ms = 50
[host]
cpus = 2
[[domain]]
id = 1
name = "guest"
kind = "pv"
vcpu = [{ affinity = "1" }]
[[source]]
id = 7
label = "disk"
domain = 1
path = "event"
handler_us = 5
workload.sas = { queue_depth = 1, service_us = 80 }
"#;

fn run(text: &str, seed: u64) -> RunResult {
    let scenario = Scenario::parse("text.toml", text).unwrap();
    Run::new(&Scenario { seed, ..scenario }).unwrap().to_end(|_| {})
}

/// The text with one more line in its domain.
fn with(text: &str, line: &str) -> String {
    text.replacen("name = \"guest\"\n", &format!("name = \"guest\"\n{line}\n"), 1)
}

fn completed(result: &RunResult, id: u32) -> u64 {
    result.sources.iter().find(|source| source.id == id).unwrap().completed
}

fn traffic(result: &RunResult) -> &EventTraffic {
    let [only] = &result.event_channels[..] else { panic!("one domain has events: {:?}", result.event_channels) };
    only
}

#[test]
fn a_guest_that_ends_events_late_rests_from_a_flood_and_its_disk_does_not_wait() {
    for abi in ["fifo", "2-level"] {
        let text = with(FLOOD, &format!("event_abi = \"{abi}\""));
        let (early, late) = (run(&text, 1), run(&with(&text, "late_eoi = true"), 1));
        let flood = |result: &RunResult| completed(result, 100) + completed(result, 101);
        // 90 ms are filled by handlers of 20 µs, or two rounds of 8 ms are.
        assert!((4_300..4_500).contains(&flood(&early)), "{abi}: {}", flood(&early));
        assert!((750..850).contains(&flood(&late)), "{abi}: {}", flood(&late));
        assert_eq!(
            (traffic(&early).delayed, traffic(&late).delayed),
            (0, 4),
            "{abi}: each port at the end of each round"
        );
        let disk = |result: &RunResult| result.sources.iter().find(|source| source.id == 7).unwrap().latency.p50_ns;
        assert!(disk(&late) < disk(&early), "{abi}: {} and {} ns", disk(&late), disk(&early));
        assert_eq!(traffic(&late).abi, abi);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// One event at a time: nothing waits together with anything, so the order in which an ABI takes events cannot matter.
    #[test]
    fn a_scenario_whose_events_never_wait_together_is_the_same_run_under_both_abis(seed in any::<u64>()) {
        let mut fifo = run(&with(CLOSED, "event_abi = \"fifo\""), seed);
        let two_level = run(&with(CLOSED, "event_abi = \"2-level\""), seed);
        assert!(completed(&fifo, 7) > 100);
        assert_eq!(fifo.trace_hash, two_level.trace_hash);
        assert_eq!((traffic(&fifo).abi.as_str(), traffic(&two_level).abi.as_str()), ("fifo", "2-level"));
        fifo.event_channels[0].abi = "2-level".to_owned();
        assert_eq!(fifo, two_level);
    }

    /// Events that wait together are taken in another order, but the same ones, and as many upcalls and calls.
    #[test]
    fn a_flood_is_the_same_under_both_abis_but_for_the_order(seed in any::<u64>(), late in any::<bool>()) {
        let text = if late { with(FLOOD, "late_eoi = true") } else { FLOOD.to_owned() };
        let fifo = run(&with(&text, "event_abi = \"fifo\""), seed);
        let two_level = run(&with(&text, "event_abi = \"2-level\""), seed);
        for (one, other) in fifo.sources.iter().zip(&two_level.sources) {
            assert_eq!((one.id, one.raised), (other.id, other.raised));
            let settled = |source: &carillon_sim::SourceResult| source.completed + source.coalesced;
            assert!(one.raised - settled(one) <= 2 && other.raised - settled(other) <= 2, "lost: {one:?}, {other:?}");
        }
        assert_eq!(traffic(&fifo).sent, traffic(&two_level).sent);
        assert_eq!(traffic(&fifo).delayed, traffic(&two_level).delayed);
    }
}
