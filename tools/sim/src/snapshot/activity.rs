//! What a recorded host did: when its interrupts came, who ran where, how long handlers took.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use carillon_machine::VcpuRef;
use serde::Serialize;

use super::HostSnapshot;
use super::vcpu_activity::VcpuActivity;
use super::vcpu_activity::VcpuTracks;
use crate::import::HandlerRun;
use crate::import::HandlerTrace;
use crate::import::HvmEvent;
use crate::import::ImportError;
use crate::import::InterruptTable;
use crate::import::IrqEvent;
use crate::import::Note;
use crate::import::Record;
use crate::import::SchedEvent;
use crate::import::Trace;
use crate::import::TraceEvent;
use crate::import::ftrace;
use crate::import::xentrace;

/// What a recorded host did. Times are ns since the trace's first record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// How long the trace is, ns.
    pub duration_ns: u64,
    /// Per source that came, by IRQ.
    pub sources: Vec<SourceActivity>,
    /// Per vCPU that did anything, by domain and number.
    pub vcpus: Vec<VcpuActivity>,
    /// Exits of hardware-assisted guests, by reason.
    pub exits: BTreeMap<u32, u64>,
    /// Interrupts injected into hardware-assisted guests, by vector.
    pub injections: BTreeMap<u32, u64>,
    /// Dom0's handlers, by its own interrupt numbers.
    pub handlers: Vec<HandlerActivity>,
    /// How dom0's counts changed between two recordings of them.
    pub counts: Vec<CountChange>,
    /// How many trace records were lost.
    pub lost_records: u64,
    /// Trace records of kinds this version does not know, by number.
    pub unknown_records: BTreeMap<u32, u64>,
    /// What cannot be told.
    pub notes: Vec<Note>,
}

/// One source's arrivals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceActivity {
    /// Xen's number of the interrupt.
    pub irq: u32,
    /// When it came, in order of time.
    pub arrivals: Vec<Arrival>,
}

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Arrival {
    /// When Xen's handler began, ns.
    pub at_ns: u64,
    /// How long Xen's handler took, ns.
    pub handler_ns: u64,
    /// Where.
    pub cpu: u32,
}

/// One handler of dom0's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandlerActivity {
    /// Dom0's number of the interrupt.
    pub number: u32,
    /// The handler's name.
    pub name: String,
    /// How long each run took, ns, in the trace's order.
    pub durations_ns: Vec<u64>,
}

/// How one of dom0's counts changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountChange {
    /// Dom0's number or name of the interrupt.
    pub label: String,
    /// The handlers' names.
    pub name: String,
    /// By how much, on all CPUs.
    pub more: u64,
}

impl SourceActivity {
    /// How often it came a second, over a trace of `duration_ns`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    pub fn rate_hz(&self, duration_ns: u64) -> f64 {
        if duration_ns == 0 { 0.0 } else { self.arrivals.len() as f64 * 1e9 / duration_ns as f64 }
    }
}

impl Activity {
    /// One source's arrivals.
    #[must_use]
    pub fn source(&self, irq: u32) -> Option<&SourceActivity> {
        self.sources.iter().find(|source| source.irq == irq)
    }

    /// One vCPU's track.
    #[must_use]
    pub fn vcpu(&self, vcpu: VcpuRef) -> Option<&VcpuActivity> {
        self.vcpus.iter().find(|track| track.vcpu == vcpu)
    }

    /// The same on a host that is `speedup` times as fast: every time and duration divided by it, rounded down.
    #[must_use]
    pub fn scaled(&self, speedup: NonZeroU32) -> Self {
        let scale = |ns: u64| ns / u64::from(speedup.get());
        let mut scaled = self.clone();
        scaled.duration_ns = scale(self.duration_ns);
        for arrival in scaled.sources.iter_mut().flat_map(|source| &mut source.arrivals) {
            (arrival.at_ns, arrival.handler_ns) = (scale(arrival.at_ns), scale(arrival.handler_ns));
        }
        for track in &mut scaled.vcpus {
            track.scale(scale);
        }
        for duration in scaled.handlers.iter_mut().flat_map(|handler| &mut handler.durations_ns) {
            *duration = scale(*duration);
        }
        scaled
    }

    fn add_trace(&mut self, trace: &Trace, clock: TscClock, end_tsc: u64) {
        self.duration_ns = clock.ns(end_tsc);
        self.lost_records = trace.lost_records();
        if let Some(broken) = &trace.broken {
            self.notes.push(Note::on_file(&broken.file, broken.to_string()));
        }
        let mut timed: Vec<(u64, &Record)> =
            trace.records.iter().filter_map(|record| Some((record.tsc?, record))).collect();
        timed.sort_by_key(|(tsc, _)| *tsc);
        let mut sources: BTreeMap<u32, Vec<Arrival>> = BTreeMap::new();
        let mut tracks = VcpuTracks::default();
        for (tsc, record) in timed {
            let at_ns = clock.ns(tsc);
            match record.event {
                TraceEvent::Irq(IrqEvent::Handled { irq, tsc_in, tsc_out }) => {
                    let begin = before(tsc, tsc_in);
                    let handler_ns = clock.span(u64::from(tsc_out.wrapping_sub(tsc_in)));
                    sources.entry(irq).or_default().push(Arrival {
                        at_ns: clock.ns(begin),
                        handler_ns,
                        cpu: record.cpu,
                    });
                }
                TraceEvent::Sched(SchedEvent::RunState { vcpu, from, to }) => {
                    tracks.change(vcpu, from, to, at_ns, record.cpu);
                }
                TraceEvent::Sched(SchedEvent::Wake { vcpu }) => tracks.wake(vcpu, at_ns),
                TraceEvent::Sched(SchedEvent::Block { vcpu }) => tracks.block(vcpu, at_ns),
                _ => {}
            }
        }
        // Xen writes exits and injections without time stamps: they are counted, not placed.
        for record in &trace.records {
            match record.event {
                TraceEvent::Hvm(HvmEvent::Exit { reason, .. }) => *self.exits.entry(reason).or_default() += 1,
                TraceEvent::Hvm(HvmEvent::InjectInterrupt { vector }) => {
                    *self.injections.entry(vector).or_default() += 1
                }
                TraceEvent::Unknown { event, .. } => *self.unknown_records.entry(event).or_default() += 1,
                _ => {}
            }
        }
        self.sources = sources
            .into_iter()
            .map(|(irq, mut arrivals)| {
                arrivals.sort_unstable();
                SourceActivity { irq, arrivals }
            })
            .collect();
        self.vcpus = tracks.finish(self.duration_ns);
    }

    fn add_handlers(&mut self, trace: HandlerTrace) {
        let mut handlers: BTreeMap<(u32, String), Vec<u64>> = BTreeMap::new();
        for HandlerRun { irq, name, duration_ns, .. } in trace.runs {
            handlers.entry((irq, name)).or_default().push(duration_ns);
        }
        self.handlers = handlers
            .into_iter()
            .map(|((number, name), durations_ns)| HandlerActivity { number, name, durations_ns })
            .collect();
        self.notes.extend(trace.notes);
    }

    fn add_counts(&mut self, before: &InterruptTable, after: &InterruptTable) {
        for row in &before.rows {
            let later = after.row(&row.label).filter(|later| later.action == row.action);
            let Some(later) = later else { continue };
            let more = later.total().saturating_sub(row.total());
            self.counts.push(CountChange { label: row.label.clone(), name: row.action.clone(), more });
        }
    }
}

impl HostSnapshot {
    /// Reads what the host did: `xentrace.bin`, `ftrace-irq.txt`, and dom0's counts before and after.
    ///
    /// # Errors
    /// [`ImportError`] if a file that is there cannot be understood. A file that is missing, and a trace whose clock
    /// rate is not known, become notes.
    pub fn activity(&self) -> Result<Activity, ImportError> {
        let mut activity = Activity::default();
        match self.recording.open("xentrace.bin")?.map(|source| xentrace::parse(&source)).transpose()? {
            Some(trace) => match (trace.tsc_range(), self.facts().tsc_khz) {
                (Some((first, last)), Some(khz)) => activity.add_trace(&trace, TscClock { first, khz }, last),
                (None, _) => activity.notes.push(Note::on_file("xentrace.bin", "no record has a time")),
                (_, None) => {
                    activity
                        .notes
                        .push(Note::on_file("xentrace.bin", "its clock rate is not known without xl-info.txt"));
                }
            },
            None => activity
                .notes
                .push(Note::on_file(&self.name, "xentrace.bin is not there: when interrupts came is not known")),
        }
        match self.recording.open("ftrace-irq.txt")? {
            Some(source) => activity.add_handlers(ftrace::parse(&source)?),
            None => {
                let text = "ftrace-irq.txt is not there: how long dom0's handlers take is not known";
                activity.notes.push(Note::on_file(&self.name, text));
            }
        }
        let table = |file: &Option<crate::import::ProcInterrupts>| file.as_ref().and_then(|file| file.last().cloned());
        if let (Some(before), Some(after)) = (table(&self.interrupts), table(&self.interrupts_after)) {
            activity.add_counts(&before, &after);
        }
        Ok(activity)
    }
}

/// Turns cycles into ns since the trace's beginning.
#[derive(Clone, Copy, Debug)]
struct TscClock {
    first: u64,
    khz: u64,
}

impl TscClock {
    fn ns(self, tsc: u64) -> u64 {
        self.span(tsc.saturating_sub(self.first))
    }

    fn span(self, cycles: u64) -> u64 {
        let ns = u128::from(cycles) * 1_000_000 / u128::from(self.khz.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// The last time not after `tsc` whose low word is `low`.
const fn before(tsc: u64, low: u32) -> u64 {
    let low = low as u64;
    let candidate = tsc & !0xffff_ffff | low;
    if candidate > tsc { candidate.saturating_sub(1 << 32) } else { candidate }
}

#[cfg(test)]
mod tests {
    use super::TscClock;
    use super::before;

    #[test]
    fn low_words_are_placed_before_their_record_across_a_carry() {
        assert_eq!(before(0x5_0000_0010, 0xffff_fff0), 0x4_ffff_fff0);
        assert_eq!(before(0x5_0000_0010, 0x0000_0008), 0x5_0000_0008);
        assert_eq!(before(0x10, 0x20), 0);
    }

    #[test]
    fn cycles_become_ns_at_the_recorded_rate_without_overflow() {
        let clock = TscClock { first: 1000, khz: 2_000_000 };
        assert_eq!((clock.ns(1000), clock.ns(3000), clock.ns(0)), (0, 1000, 0));
        assert_eq!(TscClock { first: 0, khz: 1 }.ns(u64::MAX), u64::MAX);
    }
}
