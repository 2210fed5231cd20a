//! The timeline: what happened on each CPU, for as long as there is room.

use carillon_machine::Time;
use vector_allocator::CpuId;

use crate::Lane;
use crate::SpanKind;
use crate::TimelineSpan;

/// The most spans a timeline keeps; with none, no timeline is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimit(pub usize);

/// Spans being collected.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    lanes: Vec<Lane>,
    left: usize,
    cut: bool,
}

impl Timeline {
    pub(super) fn new(cpus: u32, limit: SpanLimit) -> Self {
        let lanes = if limit.0 == 0 { 0 } else { cpus };
        let lanes = (0..lanes).map(|cpu| Lane { cpu, spans: Vec::new() }).collect();
        Self { lanes, left: limit.0, cut: false }
    }

    /// Whether spans are still wanted; labels need not be made for those that are not.
    pub(super) fn is_open(&self) -> bool {
        self.left > 0
    }

    /// Adds a span; past the limit it is left out, and the timeline knows.
    pub(super) fn add(&mut self, cpu: CpuId, kind: SpanKind, span: (Time, Time), label: impl FnOnce() -> String) {
        let Some(lane) = self.lanes.get_mut(cpu.index()) else { return };
        if self.left == 0 {
            self.cut = true;
            return;
        }
        self.left -= 1;
        lane.spans.push(TimelineSpan { start_ns: span.0.0, end_ns: span.1.0, kind, label: label() });
    }

    /// The lanes, each in order of start, and whether spans were left out.
    pub(super) fn finish(mut self) -> (Vec<Lane>, bool) {
        // Spans come when they end; of those that start together the longer is the outer one.
        self.lanes.iter_mut().for_each(|lane| {
            lane.spans.sort_by_key(|span| (span.start_ns, u64::MAX - span.end_ns));
        });
        (self.lanes, self.cut)
    }
}
