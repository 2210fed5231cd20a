//! A part of what a host did.

use std::ops::Range;

use super::activity::Activity;
use super::activity::Arrival;
use super::activity::SourceActivity;
use super::vcpu_activity::Stay;
use super::vcpu_activity::VcpuActivity;

impl Activity {
    /// What happened from `range.start` to before `range.end`, ns, as if nothing else had been recorded. What has no time
    /// stays whole: how long handlers take, exits and injections, and the notes. Changes of counts are left out, since
    /// they belong to the whole.
    #[must_use]
    pub fn part(&self, range: Range<u64>) -> Self {
        let end = range.end.min(self.duration_ns);
        let range = range.start.min(end)..end;
        let sources = self.sources.iter().filter_map(|source| {
            let inside = source.arrivals.iter().filter(|arrival| range.contains(&arrival.at_ns));
            let arrivals: Vec<Arrival> =
                inside.map(|arrival| Arrival { at_ns: arrival.at_ns - range.start, ..*arrival }).collect();
            (!arrivals.is_empty()).then_some(SourceActivity { irq: source.irq, arrivals })
        });
        Self {
            duration_ns: range.end - range.start,
            sources: sources.collect(),
            vcpus: self.vcpus.iter().map(|track| part_of_track(track, &range)).collect(),
            counts: Vec::new(),
            ..self.clone()
        }
    }
}

fn part_of_track(track: &VcpuActivity, range: &Range<u64>) -> VcpuActivity {
    let clip = |at: u64| at.clamp(range.start, range.end) - range.start;
    let stays = track.stays.iter().filter(|stay| stay.from_ns < range.end && stay.to_ns > range.start);
    let times = |times: &[u64]| times.iter().filter(|at| range.contains(at)).map(|at| at - range.start).collect();
    VcpuActivity {
        vcpu: track.vcpu,
        stays: stays.map(|stay| Stay { from_ns: clip(stay.from_ns), to_ns: clip(stay.to_ns), ..*stay }).collect(),
        wakes_ns: times(&track.wakes_ns),
        blocks_ns: times(&track.blocks_ns),
    }
}
