//! Counting on this host: Xen's trace buffers and dom0's `/proc/interrupts`, from one look to the next.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use carillon_sim::import::InterruptTable;
use carillon_sim::import::IrqEvent;
use carillon_sim::import::Source;
use carillon_sim::import::TraceEvent;
use carillon_sim::import::proc_interrupts;
use carillon_sim::import::xentrace;
use carillon_sim::snapshot::HostSnapshot;
use carillon_xen_host::ForeignMemory;
use carillon_xen_host::Hypercalls;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::TraceBuffers;
use carillon_xen_host::TraceSize;
use hypervisor_abi::trace;

use super::rates::Counted;
use super::rates::Rates;
use super::rates::difference;
use crate::failure::Failure;
use crate::live;
use crate::live::Files;

/// Pages of a CPU's trace buffer, if there are none yet.
const TRACE: TraceSize = TraceSize { pages_per_cpu: NonZeroU32::new(64).expect("not zero") };
/// How often the buffers are emptied: 64 pages hold some ten thousand interrupts.
const DRAIN: Duration = Duration::from_millis(20);

/// A host that is being counted.
pub(super) struct Watch<'a, H: Hypercalls + ForeignMemory> {
    xen: &'a Hypervisor<H>,
    host: HostSnapshot,
    /// None if Xen could not be traced, and why.
    buffers: Result<TraceBuffers<'a, H>, String>,
    table: InterruptTable,
    since: Instant,
}

/// What the trace said since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Traced {
    interrupts: BTreeMap<(u32, u32), u64>,
    lost: u64,
    /// Whether an IRQ was given a vector or lost it: the host must be looked at again.
    has_moved: bool,
}

impl<'a, H: Hypercalls + ForeignMemory> Watch<'a, H> {
    /// Begins to count.
    pub(super) fn start(xen: &'a Hypervisor<H>) -> Result<Self, Failure> {
        let host = live::snapshot(Files::gather(xen)?)?;
        let buffers = TraceBuffers::start(xen, trace::HW_IRQ_CLASS, TRACE).map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            format!("Xen cannot be traced: {error}{source}.")
        });
        Ok(Self { xen, host, buffers, table: table()?, since: Instant::now() })
    }

    /// Counts for so long and says how often everything came.
    pub(super) fn next(&mut self, interval: Duration) -> Result<Rates, Failure> {
        let mut records = Vec::new();
        while self.since.elapsed() < interval {
            thread::sleep(DRAIN.min(interval));
            self.drain(&mut records)?;
        }
        self.drain(&mut records)?;
        let (before, elapsed) = (std::mem::replace(&mut self.table, table()?), self.since.elapsed());
        self.since = Instant::now();
        let traced = counted(records)?;
        if traced.has_moved {
            self.host = live::snapshot(Files::gather(self.xen)?)?;
        }
        let mut notes: Vec<String> = self.buffers.as_ref().err().cloned().into_iter().collect();
        if traced.lost > 0 {
            notes.push(format!("{} trace records were lost: more came than is shown", traced.lost));
        }
        let counted = Counted {
            seconds: elapsed.as_secs_f64(),
            interrupts: self.buffers.is_ok().then_some(traced.interrupts),
            events: difference(&before, &self.table),
            notes,
        };
        Ok(Rates::new(&self.host, counted))
    }

    fn drain(&mut self, records: &mut Vec<u8>) -> Result<(), Failure> {
        match &mut self.buffers {
            Ok(buffers) => buffers.drain(records).map_err(|error| Failure::caused(&error)),
            Err(_) => Ok(()),
        }
    }
}

/// How often each interrupt comes for so long, by Xen's number of it.
pub(crate) fn listen<H: Hypercalls + ForeignMemory>(
    xen: &Hypervisor<H>,
    interval: Duration,
) -> Result<BTreeMap<u32, u64>, Failure> {
    let failed = |error| live::failure(&error);
    let mut buffers = TraceBuffers::start(xen, trace::HW_IRQ_CLASS, TRACE).map_err(failed)?;
    let (mut records, since) = (Vec::new(), Instant::now());
    while since.elapsed() < interval {
        thread::sleep(DRAIN.min(interval));
        buffers.drain(&mut records).map_err(failed)?;
    }
    Ok(by_irq(&counted(records)?))
}

/// The same, wherever each came.
fn by_irq(traced: &Traced) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    for ((irq, _), count) in &traced.interrupts {
        *counts.entry(*irq).or_default() += count;
    }
    counts
}

/// Dom0's interrupts as they are now.
fn table() -> Result<InterruptTable, Failure> {
    let bytes = fs::read(live::INTERRUPTS).map_err(|error| Failure::new(format!("{}: {error}", live::INTERRUPTS)))?;
    let file = proc_interrupts::parse(&Source::new(live::INTERRUPTS, bytes));
    Ok(file.map_err(|error| Failure::caused(&error))?.last().cloned().unwrap_or_default())
}

/// What records say of interrupts.
fn counted(records: Vec<u8>) -> Result<Traced, Failure> {
    let mut traced = Traced::default();
    if records.is_empty() {
        return Ok(traced);
    }
    let trace = xentrace::parse(&Source::new("Xen's trace", records)).map_err(|error| Failure::caused(&error))?;
    for record in &trace.records {
        match record.event {
            TraceEvent::Irq(IrqEvent::Handled { irq, .. }) => {
                *traced.interrupts.entry((irq, record.cpu)).or_default() += 1;
            }
            TraceEvent::Irq(_) => traced.has_moved = true,
            TraceEvent::LostRecords { count, .. } => traced.lost += u64::from(count),
            _ => {}
        }
    }
    Ok(traced)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Traced;
    use super::by_irq;
    use super::counted;

    /// Windows of records as the trace buffers are read: CPU and its words.
    fn windows(windows: &[(u32, &[u32])]) -> Vec<u8> {
        let words = windows.iter().flat_map(|(cpu, words)| {
            let bytes = u32::try_from(words.len() * 4).expect("a short window");
            [0x2001_f003, *cpu, bytes].into_iter().chain(words.iter().copied())
        });
        words.flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn handled_interrupts_are_counted_by_irq_and_cpu_and_moves_are_noticed() {
        // Handled: with a time stamp and three words.
        let handled = |irq| [0xb080_2008, 1, 0, irq, 5, 6];
        let two = [handled(26), handled(26)].concat();
        let seen = counted(windows(&[(0, &two), (3, &handled(26))])).expect("a trace");
        let interrupts = BTreeMap::from([((26, 0), 2), ((26, 3), 1)]);
        assert_eq!(seen, Traced { interrupts, lost: 0, has_moved: false });
        assert_eq!(by_irq(&seen), BTreeMap::from([(26, 3)]));
        // An IRQ is given a vector.
        let moved = counted(windows(&[(1, &[0xb080_2006, 1, 0, 26, 0xd8, 1])])).expect("a trace");
        assert!(moved.has_moved && moved.interrupts.is_empty());
        assert_eq!(counted(Vec::new()).expect("nothing"), Traced::default());
    }
}
