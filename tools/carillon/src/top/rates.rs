//! Rates of interrupts and events, by vector, by domain and by pCPU.

use std::collections::BTreeMap;

use carillon_sim::import::InterruptTable;
use carillon_sim::snapshot::HostSnapshot;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Answer;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// What came in some time.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// How long it was counted, s.
    pub(super) seconds: f64,
    /// How often each IRQ was handled on each pCPU, by both numbers; none if Xen could not be traced.
    pub(super) interrupts: Option<BTreeMap<(u32, u32), u64>>,
    /// Dom0's interrupts and events.
    pub(super) events: Vec<EventCount>,
    /// What is to be said about it.
    pub(super) notes: Vec<String>,
}

/// How often one of dom0's interrupts or events came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventCount {
    /// Linux's number or name of it.
    pub(super) label: String,
    /// Its handlers.
    pub(super) name: String,
    /// How often, on all vCPUs.
    pub(super) count: u64,
}

/// How often everything came.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    host: String,
    seconds: f64,
    /// By vector, the most frequent first.
    vectors: Vec<VectorRate>,
    /// By owner.
    domains: Vec<NamedRate>,
    /// By pCPU.
    cpus: Vec<NamedRate>,
    /// Dom0's interrupts and events, the most frequent first.
    dom0_events: Vec<EventRate>,
    notes: Vec<String>,
}

/// How often a vector's interrupt came.
#[derive(Debug, Serialize)]
struct VectorRate {
    vector: Option<String>,
    irq: u32,
    owner: String,
    device: String,
    /// The pCPUs it was handled on.
    cpus: Vec<CpuRate>,
    count: u64,
    per_second: f64,
    #[serde(skip)]
    is_guests: bool,
}

/// How often an interrupt came on a pCPU.
#[derive(Debug, Serialize)]
struct CpuRate {
    cpu: u32,
    count: u64,
    per_second: f64,
}

/// How often the interrupts of a domain, or those on a pCPU, came.
#[derive(Debug, Serialize)]
struct NamedRate {
    name: String,
    count: u64,
    per_second: f64,
}

/// How often one of dom0's events came.
#[derive(Debug, Serialize)]
struct EventRate {
    label: String,
    name: String,
    count: u64,
    per_second: f64,
}

/// How the counts of two tables differ; a row that is new counts from 0.
pub(super) fn difference(before: &InterruptTable, after: &InterruptTable) -> Vec<EventCount> {
    let rows = after.rows.iter().map(|row| {
        let earlier = before.row(&row.label).filter(|earlier| earlier.action == row.action);
        let count = row.total().saturating_sub(earlier.map_or(0, carillon_sim::import::InterruptRow::total));
        EventCount { label: row.label.clone(), name: row.action.clone(), count }
    });
    rows.filter(|row| row.count > 0).collect()
}

impl Rates {
    /// The rates of a recording, over its trace.
    pub(super) fn of_recording(host: &HostSnapshot) -> Result<Self, Failure> {
        let activity = host.activity().map_err(|error| Failure::caused(&error))?;
        let mut notes: Vec<String> = activity.notes.iter().map(ToString::to_string).collect();
        if activity.lost_records > 0 {
            notes.push(format!("{} trace records were lost: more came than is shown", activity.lost_records));
        }
        let has_trace = activity.duration_ns > 0;
        let mut interrupts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for source in &activity.sources {
            for arrival in &source.arrivals {
                *interrupts.entry((source.irq, arrival.cpu)).or_default() += 1;
            }
        }
        let dom0 = activity.counts.iter().filter(|change| change.domain.0 == 0 && change.more > 0);
        let events: Vec<EventCount> = dom0
            .map(|change| EventCount { label: change.label.clone(), name: change.name.clone(), count: change.more })
            .collect();
        if has_trace && !events.is_empty() {
            notes.push(
                "dom0's counts are from /proc/interrupts before and after the trace: the times differ a little"
                    .to_owned(),
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let seconds = activity.duration_ns as f64 / 1e9;
        Ok(Self::new(host, Counted { seconds, interrupts: has_trace.then_some(interrupts), events, notes }))
    }

    /// The rates of what was counted, with the names the host has for it.
    pub(super) fn new(host: &HostSnapshot, counted: Counted) -> Self {
        let Counted { seconds, interrupts, mut events, mut notes } = counted;
        let sources = host.sources();
        let assignment = host.assignment();
        match interrupts {
            Some(_) => notes.push("Interrupts: Xen's trace of handled ones, on every pCPU.".to_owned()),
            None => notes.push("Interrupts of guests are not counted: there is no trace of Xen's.".to_owned()),
        }
        notes.push("Events: /proc/interrupts of dom0, on all its vCPUs.".to_owned());
        let (mut by_irq, mut by_cpu, mut by_owner) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for ((irq, cpu), count) in interrupts.into_iter().flatten() {
            let source = sources.iter().find(|source| source.irq == irq);
            let owner = source.map_or_else(|| "unknown".to_owned(), |source| source.owner.to_string());
            *by_owner.entry(owner.clone()).or_insert(0) += count;
            *by_cpu.entry(cpu).or_insert(0) += count;
            let row = by_irq.entry(irq).or_insert_with(|| VectorRate {
                vector: assignment.sources.iter().find(|held| held.id.0 == irq).map(|held| held.vector.to_string()),
                irq,
                owner,
                device: source.map(|source| source.label.clone()).unwrap_or_default(),
                cpus: Vec::new(),
                count: 0,
                per_second: 0.0,
                is_guests: source.is_some_and(|source| source.owner.is_guest()),
            });
            row.cpus.push(CpuRate { cpu, count, per_second: rate(count, seconds) });
            row.count += count;
        }
        let mut vectors: Vec<VectorRate> = by_irq.into_values().collect();
        vectors.iter_mut().for_each(|row| row.per_second = rate(row.count, seconds));
        vectors.sort_by_key(|row| (std::cmp::Reverse(row.count), row.irq));
        events.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.label.cmp(&b.label)));
        let named = |name: String, count: u64| NamedRate { name, count, per_second: rate(count, seconds) };
        Self {
            host: host.name.clone(),
            seconds,
            vectors,
            domains: by_owner.into_iter().map(|(owner, count)| named(owner, count)).collect(),
            cpus: by_cpu.into_iter().map(|(cpu, count)| named(format!("pCPU {cpu}"), count)).collect(),
            dom0_events: events
                .into_iter()
                .map(|EventCount { label, name, count }| EventRate {
                    label,
                    name,
                    count,
                    per_second: rate(count, seconds),
                })
                .collect(),
            notes,
        }
    }
}

/// How often a second; 0 if no time went by.
#[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Answer for Rates {
    fn show(&self, page: &mut Page) {
        page.title(&format!("{}: interrupts in {:.2} s", self.host, self.seconds));
        let number = |per_second: f64| format!("{per_second:.1}");
        let named = |rates: &[NamedRate]| {
            let rates = rates.iter().map(|rate| format!("{} {}/s", rate.name, number(rate.per_second)));
            rates.collect::<Vec<_>>().join("; ")
        };
        if !self.vectors.is_empty() {
            page.line(Tone::Plain, &format!("By domain: {}.", named(&self.domains)));
            page.line(Tone::Plain, &format!("By pCPU: {}.", named(&self.cpus)));
        }
        let rows = self.vectors.iter().map(|row| {
            let tone = if row.is_guests { Tone::Warn } else { Tone::Plain };
            let cpus: Vec<String> =
                row.cpus.iter().map(|rate| format!("{}: {}", rate.cpu, number(rate.per_second))).collect();
            vec![
                Piece::toned(row.vector.clone().unwrap_or_else(|| "none now".to_owned()), tone),
                row.irq.to_string().into(),
                Piece::toned(row.owner.clone(), tone),
                row.device.clone().into(),
                cpus.join(", ").into(),
                number(row.per_second).into(),
                row.count.to_string().into(),
            ]
        });
        page.table(&["vector", "IRQ", "owner", "device", "on pCPU, per second", "per second", "count"], rows.collect());
        if !self.dom0_events.is_empty() {
            page.heading("Events and interrupts that reached dom0");
        }
        let rows = self.dom0_events.iter().map(|row| {
            vec![
                row.label.clone().into(),
                row.name.clone().into(),
                number(row.per_second).into(),
                row.count.to_string().into(),
            ]
        });
        page.table(&["Linux", "name", "per second", "count"], rows.collect());
        self.notes.iter().for_each(|note| page.line(Tone::Faint, note));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use carillon_sim::import::Source;
    use carillon_sim::import::proc_interrupts;
    use carillon_sim::snapshot::HostSnapshot;
    use carillon_sim::snapshot::Recorded;

    use super::Counted;
    use super::Rates;
    use super::difference;

    #[test]
    fn counts_are_summed_by_vector_by_domain_and_by_cpu() {
        let host = HostSnapshot::recorded(Recorded::SasNic).expect("a recording");
        // IRQ 26 is the guest's card under D8, 25 dom0's controller under C8; 200 is nobody's.
        let interrupts = BTreeMap::from([((26, 0), 30), ((26, 3), 10), ((25, 3), 8), ((200, 1), 2)]);
        let rates = Rates::new(&host, Counted { seconds: 2.0, interrupts: Some(interrupts), ..Counted::default() });
        let row = |row: &super::VectorRate| {
            let cpus: Vec<String> = row.cpus.iter().map(|rate| format!("{}: {}", rate.cpu, rate.per_second)).collect();
            let vector = row.vector.as_deref().unwrap_or("none");
            format!("{vector} {} {} {} on {}", row.irq, row.owner, row.per_second, cpus.join(", "))
        };
        let vectors: Vec<String> = rates.vectors.iter().map(row).collect();
        assert_eq!(vectors, ["D8 26 d1 20 on 0: 15, 3: 5", "C8 25 dom0 4 on 3: 4", "none 200 unknown 1 on 1: 1"]);
        let named = |rates: &[super::NamedRate]| -> Vec<(String, u64)> {
            rates.iter().map(|rate| (rate.name.clone(), rate.count)).collect()
        };
        assert_eq!(named(&rates.domains), [("d1".into(), 40), ("dom0".into(), 8), ("unknown".into(), 2)]);
        assert_eq!(named(&rates.cpus), [("pCPU 0".into(), 30), ("pCPU 1".into(), 2), ("pCPU 3".into(), 18)]);
    }

    #[test]
    fn a_row_counts_from_its_last_value_and_a_new_one_from_0() {
        let table = |text: &str| {
            let file = proc_interrupts::parse(&Source::new("interrupts", text)).expect("a table");
            file.last().expect("one").clone()
        };
        let before = table(
            "      CPU0 CPU1\n 1: 5 6 xen-dyn -event xenbus\n 2: 9 9 xen-dyn -event old\n 3: 4 4 xen-dyn -event idle\n",
        );
        let after = table(
            "      CPU0 CPU1\n 1: 7 6 xen-dyn -event xenbus\n 2: 1 2 xen-dyn -event new\n 3: 4 4 xen-dyn -event idle\n",
        );
        let seen: Vec<(String, u64)> =
            difference(&before, &after).into_iter().map(|row| (row.label, row.count)).collect();
        assert_eq!(seen, [("1".into(), 2), ("2".into(), 3)]);
    }

    #[test]
    fn a_recording_s_rates_are_what_its_trace_counted() {
        let host = HostSnapshot::recorded(Recorded::SasNic).expect("a recording");
        let activity = host.activity().expect("a trace");
        let rates = Rates::of_recording(&host).expect("rates");
        assert!(!rates.vectors.is_empty());
        for row in &rates.vectors {
            let source = activity.source(row.irq).expect("a source that came");
            assert_eq!(row.count, source.arrivals.len() as u64, "IRQ {}", row.irq);
            assert!((row.per_second - source.rate_hz(activity.duration_ns)).abs() < 1e-6);
        }
        let total = |rates: &[super::NamedRate]| rates.iter().map(|rate| rate.count).sum::<u64>();
        assert_eq!(total(&rates.domains), total(&rates.cpus));
        let timer = rates.dom0_events.iter().find(|row| row.name == "timer0").expect("dom0's timer");
        assert!(timer.count > 0 && timer.per_second > 0.0);
    }
}
