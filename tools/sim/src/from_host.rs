//! From a recorded host to a scenario: its sources with the vectors, CPUs and vCPUs they had, its interrupts when they
//! came, its vCPUs as busy as they were.
//!
//! ```
//! use carillon_sim::Replayed;
//! use carillon_sim::snapshot::HostSnapshot;
//! use carillon_sim::snapshot::Recorded;
//!
//! let host = HostSnapshot::recorded(Recorded::SasNic)?;
//! let scenario = Replayed::default().scenario(&host, &host.activity()?);
//! assert!(scenario.sources.iter().any(|source| source.label == "eth0-rxtx-0" && source.vector == Some(0xd8)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use carillon_machine::VcpuRef;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::Owner;
use vector_allocator::VectorLayout;

use crate::DevicePath;
use crate::Engine;
use crate::Scenario;
use crate::VectorPolicy;
use crate::Workload;
use crate::import::Affinity;
use crate::import::IrqLine;
use crate::scenario::CpuMask;
use crate::scenario::DeliveryPath;
use crate::scenario::Destinations;
use crate::scenario::Domain;
use crate::scenario::DomainKind;
use crate::scenario::EventAbi;
use crate::scenario::Host;
use crate::scenario::IoApicAck;
use crate::scenario::Layout;
use crate::scenario::Load;
use crate::scenario::Scheduler;
use crate::scenario::Source;
use crate::scenario::SourceKind;
use crate::scenario::Vcpu;
use crate::scenario::Vendor;
use crate::snapshot::Activity;
use crate::snapshot::HostSnapshot;
use crate::snapshot::SourceFacts;
use crate::snapshot::VcpuActivity;

/// How a recording is played back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replayed {
    /// How many times as fast as the recorded machine the simulated one is. The recordings that come with the program were
    /// made under emulation, about 50 times slower than hardware.
    pub speedup: NonZeroU32,
    /// How long a handler takes whose runs were not recorded, µs: a guest's, mostly.
    pub handler_us: f64,
}

impl Default for Replayed {
    fn default() -> Self {
        const EMULATION: NonZeroU32 = NonZeroU32::new(50).unwrap();
        Self { speedup: EMULATION, handler_us: 5.0 }
    }
}

/// Shortest run and sleep of a vCPU's load, µs: what is shorter is the noise of a recording.
const SHORTEST_US: f64 = 1.0;
/// The share of its time a vCPU must run to count as busy without end.
const BUSY: f64 = 0.98;
/// How long a host is simulated of which nothing was recorded but its state, ns.
const UNTRACED_NS: u64 = 1_000_000_000;

impl Replayed {
    /// The recorded host as a scenario. Its times repeat for as long as it is run.
    ///
    /// Sources that nobody is bound to cannot fire; they stay in, silent, because they hold vectors. Those whose vectors
    /// are the hypervisor's own are left out: they are no part of the pool.
    #[must_use]
    pub fn scenario(&self, host: &HostSnapshot, activity: &Activity) -> Scenario {
        let activity = activity.scaled(self.speedup);
        let online = host.online();
        let cpus = online.iter().last().map_or(1, |cpu| cpu.0 + 1);
        let layout = VectorLayout::xen(host.layout_options().value);
        let (model, ack) = (host.destination_model().value, host.io_apic_ack().value);
        let duration = if activity.duration_ns == 0 { UNTRACED_NS } else { activity.duration_ns };
        let facts = host.sources();
        let lines = host.irqs.irqs.iter().zip(&facts);
        let mut sources = Vec::new();
        let mut taken = BTreeSet::new();
        for (irq, facts) in lines {
            let mut sharers = self.sources(host, irq, facts, &activity, &layout);
            // A vector that an IRQ before it holds on one of its CPUs cannot serve both: the host's policy leases another.
            let places = |source: &Source| {
                let holders = model.holders(CpuId(source.cpu.unwrap_or(0)), &online);
                let places: Vec<_> = holders.iter().map(|cpu| (source.vector, cpu)).collect();
                places
            };
            let places = sharers.first().map(places).unwrap_or_default();
            if places.iter().any(|place| taken.contains(place)) {
                sharers.iter_mut().for_each(|source| (source.vector, source.held) = (None, None));
            } else {
                taken.extend(places);
            }
            sources.append(&mut sharers);
        }
        Scenario {
            name: host.name.clone(),
            about: self.about(host, &activity),
            expect: Vec::new(),
            policy: VectorPolicy::Recorded,
            path: DevicePath::AsIs,
            engine: Engine::Chosen,
            load: 1.0,
            seed: 1,
            duration_ms: duration as f64 / 1e6,
            host: Host {
                cpus,
                vendor: Vendor::Intel,
                destinations: destinations(model),
                ioapic_ack: match ack {
                    vector_allocator::IoApicAck::New => IoApicAck::New,
                    vector_allocator::IoApicAck::Old => IoApicAck::Old,
                },
                layout: Layout::from(&layout),
                scheduler: scheduler(host),
            },
            costs_ns: std::collections::BTreeMap::new(),
            sources,
            domains: host.domain_ids().into_iter().map(|id| domain(host, &activity, id, &online)).collect(),
        }
    }

    /// What of the host is replayed.
    fn about(&self, host: &HostSnapshot, activity: &Activity) -> String {
        match (activity.duration_ns, self.speedup.get()) {
            (0, _) => {
                format!("The recorded host {}; no trace of it was recorded, so its sources are silent.", host.name)
            }
            (_, 1) => format!("The recorded host {}, as fast as it was recorded.", host.name),
            (_, speedup) => format!("The recorded host {}, {speedup} times as fast as it was recorded.", host.name),
        }
    }

    /// The sources of one line: one for each domain that handles it, or one that is silent.
    fn sources(
        &self,
        host: &HostSnapshot,
        irq: &IrqLine,
        facts: &SourceFacts,
        activity: &Activity,
        layout: &VectorLayout,
    ) -> Vec<Source> {
        let target = facts.target.first().unwrap_or(CpuId::BOOT);
        let model = host.destination_model().value;
        let Some(vector) = irq.vector.filter(|vector| layout.leasable(target).contains(*vector)) else {
            return Vec::new();
        };
        let silent = Source {
            id: facts.irq,
            label: facts.label.clone(),
            domain: None,
            vcpu: 0,
            from: None,
            kind: match facts.kind {
                vector_allocator::SourceKind::Level => SourceKind::Level,
                vector_allocator::SourceKind::EdgeUnmaskable => SourceKind::EdgeUnmaskable,
                _ => SourceKind::Edge,
            },
            copies: 1,
            vector: Some(vector.number()),
            cpu: Some(target.0),
            path: DeliveryPath::Event,
            priority: None,
            guest_vector: None,
            handler_us: self.handler_us,
            workload: Workload::Silent,
            reachable: Some(CpuMask::Some(facts.reachable.clone())),
            held: (irq.holders != model.holders(target, &host.online())).then(|| CpuMask::Some(irq.holders.clone())),
            fixed: None,
        };
        let arrivals = || replay(activity, facts.irq);
        if facts.bindings.is_empty() {
            let workload = if facts.owner == Owner::System { arrivals() } else { Workload::Silent };
            return vec![Source { workload, ..silent }];
        }
        let bindings = facts.bindings.iter().map(|binding| {
            // A recording tells that a line came, not which device pulled it: the least trusted sharer's is taken.
            let is_owners = binding.owner() == facts.owner;
            Source {
                domain: Some(binding.domain.0),
                vcpu: binding.vcpu.map_or(0, |vcpu| vcpu.vcpu),
                label: binding.name.clone().unwrap_or_else(|| facts.label.clone()),
                handler_us: self.handler_us(activity, binding.domain, binding.number),
                workload: if is_owners { arrivals() } else { Workload::Silent },
                ..silent.clone()
            }
        });
        let known = |source: &Source| host.domain_ids().contains(&DomainId(source.domain.unwrap_or(0)));
        bindings.filter(known).collect()
    }

    /// The median of a handler's recorded runs.
    fn handler_us(&self, activity: &Activity, domain: DomainId, number: Option<u32>) -> f64 {
        if domain.0 != 0 {
            return self.handler_us;
        }
        let mut runs: Vec<u64> = activity
            .handlers
            .iter()
            .filter(|handler| Some(handler.number) == number)
            .flat_map(|handler| handler.durations_ns.iter().copied())
            .collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).map_or(self.handler_us, |ns| *ns as f64 / 1e3)
    }
}

fn replay(activity: &Activity, irq: u32) -> Workload {
    let Some(source) = activity.source(irq).filter(|source| !source.arrivals.is_empty()) else {
        return Workload::Silent;
    };
    let at_ns: Vec<u64> = source.arrivals.iter().map(|arrival| arrival.at_ns).collect();
    let after_last = at_ns.last().map_or(1, |last| last + 1);
    Workload::Replay { at_ns, repeat_ns: Some(activity.duration_ns.max(after_last)) }
}

fn destinations(model: DestinationModel) -> Destinations {
    match model {
        DestinationModel::Physical => Destinations::Physical,
        DestinationModel::Logical { cluster_size: 0..=8 } => Destinations::Flat,
        DestinationModel::Logical { .. } => Destinations::X2apicCluster,
    }
}

/// The scheduler by the name `xl info` gives it; Xen's default where it gives none.
fn scheduler(host: &HostSnapshot) -> Scheduler {
    match host.facts().scheduler.as_deref() {
        Some("null") => Scheduler::Null,
        _ => Scheduler::default(),
    }
}

fn domain(host: &HostSnapshot, activity: &Activity, id: DomainId, online: &CpuSet) -> Domain {
    // Only a hardware-assisted guest exits and has interrupts injected.
    let is_hvm = id.0 != 0 && !(activity.exits.is_empty() && activity.injections.is_empty());
    Domain {
        id: id.0,
        name: host.domain_name(id).map_or_else(|| id.to_string(), str::to_owned),
        kind: if is_hvm { DomainKind::Hvm } else { DomainKind::Pv },
        engine: None,
        event_abi: EventAbi::default(),
        late_eoi: false,
        copies: 1,
        deferred: None,
        vcpus: vcpus(host, activity, id, online),
    }
}

/// A domain's vCPUs, from the domain dump or else from `xl vcpu-list`; one anywhere if neither knows it.
fn vcpus(host: &HostSnapshot, activity: &Activity, id: DomainId, online: &CpuSet) -> Vec<Vcpu> {
    let vcpu = |number: u32, affinity: CpuSet, cpu: Option<CpuId>| {
        let affinity = affinity.intersection(online);
        let affinity = if affinity.is_empty() { online.clone() } else { affinity };
        let start = cpu.filter(|cpu| affinity.contains(*cpu)).map(|cpu| cpu.0);
        let load = activity.vcpu(VcpuRef { domain: id, vcpu: number }).map_or(Load::Idle, load);
        Vcpu { affinity: CpuMask::Some(affinity), start, copies: 1, load }
    };
    let dumped = host.domains.as_ref().and_then(|dump| dump.domain(id)).map(|domain| &domain.vcpus);
    let dumped: Vec<Vcpu> =
        dumped.into_iter().flatten().map(|info| vcpu(info.vcpu, info.hard_affinity.clone(), Some(info.cpu))).collect();
    if !dumped.is_empty() {
        return dumped;
    }
    let listed: Vec<Vcpu> = host
        .vcpu_list
        .iter()
        .flatten()
        .filter(|line| line.domain == id)
        .map(|line| {
            let affinity = match &line.hard {
                Affinity::All => online.clone(),
                Affinity::Cpus(cpus) => cpus.clone(),
            };
            vcpu(line.vcpu, affinity, line.cpu)
        })
        .collect();
    if listed.is_empty() { vec![vcpu(0, online.clone(), None)] } else { listed }
}

/// A vCPU that runs and sleeps as often and as long, on average, as the recorded one.
fn load(activity: &VcpuActivity) -> Load {
    let recorded = activity.stays.last().map_or(0, |stay| stay.to_ns) as f64 / 1e3;
    let (ran, waited) = (activity.ran_ns() as f64 / 1e3, activity.waited_ns() as f64 / 1e3);
    if ran + waited >= recorded * BUSY && recorded > 0.0 {
        return Load::Busy;
    }
    let wakes = activity.wakes_ns.len() as f64;
    if wakes == 0.0 || ran == 0.0 {
        return Load::Idle;
    }
    Load::Periodic {
        run_us: (ran / wakes).max(SHORTEST_US),
        sleep_us: ((recorded - ran - waited) / wakes).max(SHORTEST_US),
    }
}

#[cfg(test)]
mod tests {
    use vector_allocator::Goal;
    use vector_allocator::Plan;
    use vector_allocator::inversions;
    use vector_allocator::plan;

    use crate::Replayed;
    use crate::Scenario;
    use crate::Workload;
    use crate::scenario::SourceKind;
    use crate::snapshot::HostSnapshot;
    use crate::snapshot::Recorded;

    fn recorded(recorded: Recorded) -> Scenario {
        let host = HostSnapshot::recorded(recorded).unwrap();
        Replayed::default().scenario(&host, &host.activity().unwrap())
    }

    #[test]
    fn the_recorded_hosts_can_be_run_and_written_down() {
        for host in Recorded::ALL {
            let scenario = recorded(host);
            let setup = scenario.setup().unwrap();
            assert_eq!(setup.machine.cpus, 4);
            let again = Scenario::parse("host.toml", &scenario.to_toml().unwrap()).unwrap();
            assert_eq!(again, scenario);
        }
    }

    #[test]
    fn the_host_and_its_scenario_are_inspected_and_planned_alike() {
        for host in Recorded::ALL {
            let scenario = recorded(host);
            let host = HostSnapshot::recorded(host).unwrap();
            let (of_host, of_scenario) = (host.assignment(), scenario.assignment().unwrap());
            let found = |assignment| {
                let mut found: Vec<_> =
                    inversions(assignment).map(|one| (one.kind, one.guest, one.dom0, one.cpus.to_string())).collect();
                found.sort();
                found
            };
            assert_eq!(found(&of_host), found(&of_scenario));
            let moves = |plan: Plan| -> Vec<_> {
                plan.moves.into_iter().map(|planned| (planned.source, planned.change.to_string())).collect()
            };
            assert_eq!(moves(plan(&of_host, &Goal::default())), moves(scenario.plan().unwrap()));
        }
    }

    #[test]
    fn the_guests_card_and_dom0s_disks_hold_the_vectors_of_the_dump() {
        let scenario = recorded(Recorded::SasNic);
        let vectors: Vec<(Option<u16>, u8)> = scenario
            .sources
            .iter()
            .filter(|source| source.workload != Workload::Silent)
            .filter_map(|source| Some((source.domain, source.vector?)))
            .collect();
        for expected in [(Some(1), 0xd8), (Some(0), 0xc8)] {
            assert!(vectors.contains(&expected), "{expected:x?} of {vectors:x?}");
        }
        let Workload::Replay { at_ns, repeat_ns } =
            &scenario.sources.iter().find(|source| source.vector == Some(0xc8)).unwrap().workload
        else {
            panic!("dom0's disk is replayed");
        };
        assert!(at_ns.len() > 100 && at_ns.is_sorted());
        assert!(
            repeat_ns.is_some_and(|period| period.abs_diff(80_000_000) < 20_000_000),
            "{repeat_ns:?}: 4 s, 50 times as fast"
        );
    }

    #[test]
    fn a_shared_line_is_one_source_for_each_domain_on_it() {
        let scenario = recorded(Recorded::SasIntx);
        let line: Vec<_> = scenario.sources.iter().filter(|source| source.id == 23).collect();
        assert!(line.len() >= 2, "{line:?}");
        assert!(line.iter().all(|source| source.kind == SourceKind::Level && source.vector == Some(0xd0)));
        let loud: Vec<_> = line.iter().filter(|source| source.workload != Workload::Silent).collect();
        assert!(loud.len() == 1 && loud[0].domain == Some(1), "the guest pulls it");
    }
}
