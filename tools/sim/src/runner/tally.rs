//! Tallies: how often, how long in all, how long at most; and distributions of latencies.

use std::collections::BTreeMap;

use carillon_machine::Span;
use carillon_machine::Time;
use hdrhistogram::Histogram;

use crate::Latency;

/// Points of a distribution per halving of the distance to its end: enough for a smooth line.
const TICKS: u32 = 8;

/// How often something happened, and how long it lasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) times: u64,
    pub(super) total: u64,
    pub(super) max: u64,
}

impl Tally {
    fn add(&mut self, span: Span) {
        self.times += 1;
        self.total = self.total.saturating_add(span.0);
        self.max = self.max.max(span.0);
    }
}

/// Things that begin and end, told apart by their key, tallied by a coarser one.
#[derive(Clone, Debug)]
pub(super) struct Open<K, T> {
    since: BTreeMap<K, Time>,
    pub(super) tallies: BTreeMap<T, Tally>,
}

impl<K: Ord + Copy, T: Ord> Open<K, T> {
    pub(super) fn new() -> Self {
        Self { since: BTreeMap::new(), tallies: BTreeMap::new() }
    }

    /// It begins; if it already has, it goes on.
    pub(super) fn begin(&mut self, key: K, at: Time) {
        self.since.entry(key).or_insert(at);
    }

    /// It ends, if it had begun: since when.
    pub(super) fn end(&mut self, key: K, at: Time, tally: T) -> Option<Time> {
        let since = self.since.remove(&key)?;
        self.tallies.entry(tally).or_default().add(at - since);
        Some(since)
    }

    /// What has begun and not ended.
    pub(super) fn pending(&self) -> Vec<K> {
        self.since.keys().copied().collect()
    }
}

/// A distribution of latencies. It takes room only once it has a sample: big hosts have sources by the ten thousand.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Option<Box<Histogram<u32>>>);

impl Latencies {
    /// Adds a sample.
    pub(super) fn add(&mut self, span: Span) {
        // Two digits are one percent; a histogram that resizes itself takes every value.
        let histogram = self.0.get_or_insert_with(|| {
            let mut empty = Histogram::new(2).expect("two digits are among the 0 to 5 allowed");
            empty.auto(true);
            Box::new(empty)
        });
        histogram.record(span.0).expect("a histogram that resizes itself takes every value");
    }

    /// The distribution as data.
    pub(super) fn summary(&self) -> Latency {
        let Some(histogram) = &self.0 else { return Latency::default() };
        let count = histogram.len();
        let mut below = 0;
        let points = histogram.iter_quantiles(TICKS).map(|step| {
            below += step.count_since_last_iteration();
            (step.value_iterated_to(), below as f64 / count as f64)
        });
        let mut cdf: Vec<(u64, f64)> = points.collect();
        cdf.dedup_by_key(|(value, _)| *value);
        Latency {
            count,
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            max_ns: histogram.max(),
            mean_ns: histogram.mean(),
            cdf,
        }
    }
}

#[cfg(test)]
mod tests {
    use carillon_machine::Span;
    use carillon_machine::Time;

    use super::Latencies;
    use super::Open;

    #[test]
    fn a_distribution_is_within_one_percent_of_the_samples() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary().count, 0);
        (1..=1000).for_each(|k| latencies.add(Span(k * 1000)));
        let summary = latencies.summary();
        let near = |value: u64, expected: f64| (value as f64 / expected - 1.0).abs() < 0.01;
        assert_eq!(summary.count, 1000);
        assert!(near(summary.p50_ns, 500e3) && near(summary.p99_ns, 990e3) && near(summary.max_ns, 1e6), "{summary:?}");
        assert!(summary.cdf.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{:?}", summary.cdf);
        assert_eq!(summary.cdf.last().map(|point| point.1), Some(1.0));
        for (value, share) in &summary.cdf {
            let exact = (*value as f64 / 1000.0).floor().min(1000.0) / 1000.0;
            assert!((share - exact).abs() <= 0.011, "{value} ns: {share} instead of {exact}");
        }
    }

    #[test]
    fn what_begins_twice_lasts_from_the_first_time() {
        let mut open: Open<u8, char> = Open::new();
        open.begin(1, Time(10));
        open.begin(1, Time(15));
        open.begin(2, Time(15));
        assert_eq!(open.end(1, Time(30), 'a'), Some(Time(10)));
        assert_eq!(open.end(1, Time(40), 'a'), None);
        assert_eq!(open.end(2, Time(20), 'a'), Some(Time(15)));
        let tally = open.tallies[&'a'];
        assert_eq!((tally.times, tally.total, tally.max), (2, 25, 20));
    }
}
