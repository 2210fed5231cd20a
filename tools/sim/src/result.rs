//! What a run tells: plain data, the same for the table, the JSON, the report and the sweep.

use serde::Deserialize;
use serde::Serialize;
use vector_allocator::Owner;

/// The result of one simulated run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// What was simulated.
    pub scenario: String,
    /// The policy that gave the vectors: `recorded`, `xen-cursor`, `spread`, `below-dom0` or `planned`.
    pub policy: String,
    /// The path of guests' devices: `as-is`, `event`, `remapped`, `posted`.
    pub path: String,
    /// How guests' local APICs were served: `chosen`, `software`, `apicv`, `posted`, `ipiv`, `avic`.
    #[serde(default = "chosen")]
    pub engine: String,
    /// For how long CPUs worked for the hypervisor instead of a guest, in all, ns.
    #[serde(default)]
    pub host_ns: u64,
    /// From raise to handler, of all guests' interrupts together.
    #[serde(default)]
    pub guests_latency: Latency,
    /// The factor on every workload's rate.
    pub load: f64,
    /// The seed of every random choice.
    pub seed: u64,
    /// How long, ns of virtual time.
    pub duration_ns: u64,
    /// How many events the engine ran.
    pub events: u64,
    /// A hash of every fact in order: equal seeds give equal hashes. In JSON 16 hexadecimal digits.
    #[serde(with = "crate::hex")]
    pub trace_hash: u64,
    /// How many CPUs.
    pub cpus: u32,
    /// Per source.
    pub sources: Vec<SourceResult>,
    /// Dom0's interrupts kept waiting by guests.
    pub blocking: Vec<Blocking>,
    /// Exits, by cause.
    pub exits: Vec<Count>,
    /// Event channels, by domain that has any.
    #[serde(default)]
    pub event_channels: Vec<EventTraffic>,
    /// In-service bits kept past the host's handler.
    pub retention: Vec<Retention>,
    /// Dom0 vCPUs that waited for a CPU a guest's vCPU kept.
    pub scheduling: Vec<Waiting>,
    /// What happened on each CPU; empty unless asked for.
    pub timeline: Vec<Lane>,
    /// Whether spans are missing from the timeline because it reached its limit.
    #[serde(default)]
    pub timeline_is_cut: bool,
}

/// The engine of results from before engines could be chosen.
fn chosen() -> String {
    crate::Engine::Chosen.to_string()
}

impl RunResult {
    /// Dom0's source of this number: of a shared line, dom0's end of it.
    #[must_use]
    pub fn dom0s(&self, id: u32) -> Option<&SourceResult> {
        self.end_of(id, SourceResult::is_dom0s)
    }

    /// A guest's source of this number: of a shared line, a guest's end of it.
    #[must_use]
    pub fn guests(&self, id: u32) -> Option<&SourceResult> {
        self.end_of(id, SourceResult::is_guests)
    }

    fn end_of(&self, id: u32, is_owners: impl Fn(&SourceResult) -> bool) -> Option<&SourceResult> {
        let sharers = || self.sources.iter().filter(|source| source.id == id);
        sharers().find(|source| is_owners(source)).or_else(|| sharers().next())
    }

    /// What guests' interrupts cost dom0's, in all.
    #[must_use]
    pub fn waits(&self) -> Waits {
        self.waits_where(|_| true)
    }

    /// What those waits come to that `counts` chooses.
    #[must_use]
    pub fn waits_where(&self, counts: impl Fn(&Blocking) -> bool) -> Waits {
        let none = Waits { times: 0, total_ns: 0, longest_ns: 0 };
        self.blocking.iter().filter(|one| counts(one)).fold(none, |all, one| Waits {
            times: all.times.saturating_add(one.times),
            total_ns: all.total_ns.saturating_add(one.total_ns),
            longest_ns: all.longest_ns.max(one.max_ns),
        })
    }
}

/// What several waits of dom0's interrupts for guests' come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// How often.
    pub times: u64,
    /// For how long in all, ns.
    pub total_ns: u64,
    /// The longest, ns.
    pub longest_ns: u64,
}

/// One source's share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceResult {
    /// Its number (IRQ).
    pub id: u32,
    /// What a person calls it.
    pub label: String,
    /// `Xen`, `dom0`, `d1`, …
    pub owner: String,
    /// Its host vector at the end, if it has one.
    pub vector: Option<u8>,
    /// The CPU it is sent to at the end.
    pub cpu: u32,
    /// How often it was raised.
    pub raised: u64,
    /// How often it was raised while it still waited.
    pub coalesced: u64,
    /// How often its owner finished with it.
    pub completed: u64,
    /// How often its vCPU did not exit from the raise to the end of the handler.
    #[serde(default)]
    pub without_exit: u64,
    /// How often it was moved to another CPU or vector.
    pub moves: u64,
    /// How often it could not be moved because no vector was left at the other CPU.
    #[serde(default)]
    pub failed_moves: u64,
    /// How many of its interrupts the storm guard turned away; those of edges are lost.
    pub throttled: u64,
    /// From raise to the owner's handler.
    pub latency: Latency,
    /// From raise to the first instruction of the host's handler, the exit, trap or wake included: what host vectors
    /// decide. Empty for posted sources.
    pub host_latency: Latency,
}

impl SourceResult {
    /// Whether it is dom0's.
    #[must_use]
    pub fn is_dom0s(&self) -> bool {
        self.owner == Owner::Dom0.to_string()
    }

    /// Whether it is a guest's: neither dom0's nor Xen's own.
    #[must_use]
    pub fn is_guests(&self) -> bool {
        !self.is_dom0s() && self.owner != Owner::System.to_string()
    }
}

/// A distribution of latencies, ns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half are at most this.
    pub p50_ns: u64,
    /// 99 of 100 are at most this.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// Points of the cumulative distribution: (ns, share of samples at most that).
    pub cdf: Vec<(u64, f64)>,
}

/// One guest source keeping one dom0 source waiting in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocking {
    /// Dom0's source.
    pub victim: u32,
    /// The guest's source.
    pub by: u32,
    /// `served first`, `handler running` or `in service`.
    pub cause: String,
    /// How often.
    pub times: u64,
    /// For how long in all, ns.
    pub total_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
}

/// How often something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// What.
    pub name: String,
    /// How often.
    pub times: u64,
}

/// A domain's event channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventTraffic {
    /// Whose: `dom0`, `d1`, …
    pub domain: String,
    /// Its ABI: `fifo` or `2-level`.
    pub abi: String,
    /// How many events were sent to it.
    pub sent: u64,
    /// How many of them became one with an event that waited on the same port.
    pub coalesced: u64,
    /// How often a vCPU entered its upcall.
    pub upcalls: u64,
    /// How often the hypervisor called a vCPU: once for each time its first event came.
    pub kicks: u64,
    /// How many events the guest took for part of a storm and put off the end of.
    #[serde(default)]
    pub delayed: u64,
}

/// One source's in-service retention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// Which source.
    pub source: u32,
    /// How often.
    pub times: u64,
    /// How often the host had to end it.
    pub forced: u64,
    /// For how long in all, ns.
    pub total_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
}

/// One dom0 vCPU waiting behind one guest vCPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Who waits: `d0v1`.
    pub vcpu: String,
    /// Behind whom: `d1v0`.
    pub behind: String,
    /// How often.
    pub times: u64,
    /// For how long in all, ns.
    pub total_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
}

/// One CPU's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// The CPU.
    pub cpu: u32,
    /// What it did, in order of start.
    pub spans: Vec<TimelineSpan>,
}

/// Something that lasted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineSpan {
    /// From, ns.
    pub start_ns: u64,
    /// To, ns.
    pub end_ns: u64,
    /// What.
    pub kind: SpanKind,
    /// Of whom: `megaraid_sas C8`, `d1v0`.
    pub label: String,
}

/// What lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanKind {
    /// A vCPU ran.
    Vcpu,
    /// The host handled an interrupt.
    HostHandler,
    /// An in-service bit was kept past the handler.
    Retention,
    /// A dom0 interrupt waited because of a guest.
    Dom0Blocked,
}

#[cfg(test)]
mod tests {
    use crate::Run;
    use crate::Shipped;

    #[test]
    fn of_a_shared_line_each_end_is_found_by_whose_it_is() {
        let mut scenario = Shipped::named("retention").unwrap().scenario().unwrap();
        scenario.duration_ms = 1.0;
        let mut result = Run::new(&scenario).unwrap().to_end(|_| {});
        let guests = result.sources.iter().position(|source| source.owner == "d1").unwrap();
        let mut sharer = result.sources[guests].clone();
        (sharer.owner, sharer.label) = ("dom0".to_owned(), "pciback".to_owned());
        let id = sharer.id;
        result.sources.insert(0, sharer);
        assert_eq!(result.dom0s(id).unwrap().label, "pciback");
        assert_eq!(result.guests(id).unwrap().owner, "d1");
        assert!(result.guests(999).is_none());
    }
}
