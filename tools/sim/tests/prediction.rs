//! Parts of recordings, and how well one part tells another.

use carillon_sim::PredictionError;
use carillon_sim::predict;
use carillon_sim::snapshot::Activity;
use carillon_sim::snapshot::Arrival;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::Recorded;
use carillon_sim::snapshot::SourceActivity;

#[test]
fn parts_hold_everything_once_and_begin_at_nought() {
    let whole = HostSnapshot::recorded(Recorded::SasNic).unwrap().activity().unwrap();
    let middle = whole.duration_ns / 3;
    let parts = [whole.part(0..middle), whole.part(middle..u64::MAX)];
    assert_eq!(parts.iter().map(|part| part.duration_ns).sum::<u64>(), whole.duration_ns);
    for source in &whole.sources {
        let arrivals = parts.iter().filter_map(|part| part.source(source.irq)).map(|part| part.arrivals.len());
        // The last arrival may have come at the trace's very end.
        assert!(source.arrivals.len() - arrivals.sum::<usize>() <= 1, "IRQ {}", source.irq);
    }
    for track in &whole.vcpus {
        let ran: u64 = parts.iter().filter_map(|part| part.vcpu(track.vcpu)).map(|part| part.ran_ns()).sum();
        assert_eq!(ran, track.ran_ns(), "{:?}", track.vcpu);
    }
    for part in &parts {
        let late = part.sources.iter().flat_map(|source| &source.arrivals).filter(|one| one.at_ns >= part.duration_ns);
        assert_eq!(late.count(), 0);
        assert!(part.vcpus.iter().flat_map(|track| &track.stays).all(|stay| stay.to_ns <= part.duration_ns));
    }
    assert_eq!(whole.part(u64::MAX..u64::MAX).duration_ns, 0);
}

/// A disk every 3 ms and a card every 0.4 ms, give or take a tenth, for 2 s.
#[test]
fn sources_that_come_steadily_are_told_to_within_five_percent() {
    let host = HostSnapshot::recorded(Recorded::SasNic).unwrap();
    let duration_ns = 2_000_000_000;
    let steady = |irq: u32, period: u64| {
        let at = |number: u64| number * period + number * 7919 % (period / 10);
        let times = (0..).map(at).take_while(|at| *at < duration_ns);
        SourceActivity { irq, arrivals: times.map(|at_ns| Arrival { at_ns, handler_ns: 5000, cpu: 0 }).collect() }
    };
    let sources = vec![steady(25, 3_000_000), steady(26, 400_000)];
    let prediction = predict(&host, &Activity { duration_ns, sources, ..Activity::default() }).unwrap();
    let told: Vec<(u32, u64)> = prediction.sources.iter().map(|source| (source.irq, source.recorded)).collect();
    assert!(matches!(told[..], [(25, 330..340), (26, 2490..2510)]), "{told:?}");
    for source in &prediction.sources {
        assert!(source.error() < 0.05, "{source:?}");
        assert!(
            source.predicted <= source.learned + 1,
            "what is told is what was learned, the halves being equally long"
        );
    }
}

#[test]
fn what_comes_later_does_not_change_what_is_told() {
    let host = HostSnapshot::recorded(Recorded::SasNic).unwrap();
    let whole = host.activity().unwrap();
    let mut cut = whole.clone();
    for source in &mut cut.sources {
        source.arrivals.retain(|arrival| arrival.at_ns < whole.duration_ns / 2);
    }
    let told = |activity| {
        let prediction = predict(&host, activity).unwrap();
        prediction.sources.iter().map(|source| (source.irq, source.predicted)).collect::<Vec<_>>()
    };
    let without_later: Vec<_> = told(&cut);
    let of_both = told(&whole).into_iter().filter(|told| without_later.iter().any(|one| one.0 == told.0));
    assert_eq!(of_both.collect::<Vec<_>>(), without_later);
    assert!(!without_later.is_empty());
}

#[test]
fn a_recording_without_a_trace_predicts_nothing() {
    let host = HostSnapshot::recorded(Recorded::SasNic).unwrap();
    let error = predict(&host, &Activity::default()).unwrap_err();
    assert!(matches!(error, PredictionError::TooShort { duration_ns: 0 }));
}
