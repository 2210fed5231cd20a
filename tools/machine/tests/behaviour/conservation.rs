//! Nothing is lost and nothing comes twice, whatever the machine is made of.

use std::collections::BTreeMap;

use carillon_machine::BlockCause;
use carillon_machine::Costs;
use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::DoorbellRinger;
use carillon_machine::Engine;
use carillon_machine::EoiMode;
use carillon_machine::EventAbi;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::Scheduler;
use carillon_machine::SourceConfig;
use carillon_machine::Span;
use carillon_machine::VcpuConfig;
use carillon_machine::VcpuLoad;
use carillon_machine::VcpuRef;
use carillon_machine::Vendor;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::proptest;
use proptest::sample::Index;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::FORCED_EOI_NS;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;

use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::empty;
use crate::support::owner;
use crate::support::to;
use crate::support::vector;

/// When the last interrupt is raised, and how long the machine then has to finish.
const LAST_RAISE: u64 = 20 * MILLISECOND;
const SETTLED: u64 = 400 * MILLISECOND;

fn scheduler() -> impl Strategy<Value = Scheduler> {
    prop_oneof![
        (0u64..1_500, 100u64..5_000).prop_map(|(ratelimit, slice)| Scheduler::Credit2 {
            ratelimit: Span(ratelimit * 1_000),
            slice: Span(slice * 1_000)
        }),
        (100u64..2_000).prop_map(|slice| Scheduler::Pinned { slice: Span(slice * 1_000) }),
        Just(Scheduler::Null),
    ]
}

fn load() -> impl Strategy<Value = VcpuLoad> {
    prop_oneof![
        Just(VcpuLoad::Idle),
        Just(VcpuLoad::Busy),
        (50u64..2_000, 50u64..2_000)
            .prop_map(|(run, sleep)| VcpuLoad::Periodic { run: Span(run * 1_000), sleep: Span(sleep * 1_000) }),
    ]
}

/// A domain's kind, its engine, its event-channel ABI, when software's events end, and its vCPUs: where each starts, what else it may
/// run on, its load.
type Domain = (DomainKind, Index, EventAbi, EoiMode, Vec<(Index, Vec<Index>, VcpuLoad)>);

/// The engines that a maker's processors have.
fn engines(vendor: Vendor) -> &'static [Engine] {
    match vendor {
        Vendor::Intel => &[Engine::Software, Engine::Apicv, Engine::Posted, Engine::IpiVirtualization],
        Vendor::Amd => {
            &[Engine::Software, Engine::Avic(DoorbellRinger::Processor), Engine::Avic(DoorbellRinger::Hypervisor)]
        }
    }
}

fn domain() -> impl Strategy<Value = Domain> {
    (
        prop_oneof![Just(DomainKind::Pv), Just(DomainKind::Hvm)],
        any::<Index>(),
        prop_oneof![Just(EventAbi::Fifo), Just(EventAbi::TwoLevel)],
        prop_oneof![Just(EoiMode::Early), Just(EoiMode::Late)],
        vec((any::<Index>(), vec(any::<Index>(), 0..3), load()), 1..3),
    )
}

/// A source: which vCPU, which path, which kind, which vector and target, how long the handler, which
/// priority.
type Source = (Index, u8, u8, u8, Index, u64, u8);

fn source() -> impl Strategy<Value = Source> {
    (any::<Index>(), 0u8..7, 0u8..3, 0x31u8..=0xef, any::<Index>(), 1u64..300_000, 0u8..16)
}

fn pick(index: &Index, of: u32) -> u32 {
    u32::try_from(index.index(of as usize)).unwrap()
}

fn domains(cpus: u32, vendor: Vendor, scheduler: Scheduler, wanted: &[Domain]) -> Vec<DomainConfig> {
    let mut free: Vec<u32> = (0..cpus).collect();
    (0u16..)
        .zip(wanted)
        .map(|(id, (kind, engine, event_abi, software_eoi, vcpus))| {
            let vcpus = vcpus.iter().filter_map(|(start, others, load)| {
                let start = match scheduler {
                    Scheduler::Null => free.pop()?,
                    _ => pick(start, cpus),
                };
                let affinity: CpuSet =
                    others.iter().map(|other| CpuId(pick(other, cpus))).chain([CpuId(start)]).collect();
                Some(VcpuConfig { affinity, start: CpuId(start), load: *load })
            });
            DomainConfig {
                id: DomainId(id),
                owner: owner(id),
                name: format!("d{id}"),
                kind: *kind,
                engine: *engine.get(engines(vendor)),
                event_abi: *event_abi,
                software_eoi: *software_eoi,
                deferred: None,
                vcpus: vcpus.collect(),
            }
        })
        .collect()
}

fn sources(cpus: u32, model: DestinationModel, domains: &[DomainConfig], wanted: &[Source]) -> Vec<SourceConfig> {
    let handlers: Vec<(&DomainConfig, u32)> =
        domains.iter().flat_map(|domain| (0u32..).zip(&domain.vcpus).map(move |(n, _)| (domain, n))).collect();
    let mut taken = Vec::new();
    let mut sources = Vec::new();
    for (id, (handler_of, path, kind, number, target_of, time, priority)) in (0u32..).zip(wanted) {
        let target = CpuId(pick(target_of, cpus));
        let place = model.cluster(target).0;
        let kinds = [SourceKind::EdgeMaskable, SourceKind::EdgeUnmaskable, SourceKind::Level];
        let mut kind = kinds[usize::from(*kind)];
        let handler = Span(*time);
        let mut host_vector = Some(vector(*number));
        if matches!(number, 0x80 | 0x82) || taken.contains(&(place, *number)) {
            continue;
        }
        taken.push((place, *number));
        let guest_vector = vector(0x30 + u8::try_from(id).unwrap() * 0x11);
        let (owner_of, path) = match (path, handlers.is_empty()) {
            (0, _) | (_, true) => (None, Path::Hypervisor { handler, interruptible: id % 2 == 0 }),
            (path, false) => {
                let (domain, vcpu) = handlers[handler_of.index(handlers.len())];
                let to = to(domain.id.0, vcpu);
                let is_posted_to = !matches!(domain.engine, Engine::Software | Engine::Apicv);
                let priority = match domain.event_abi {
                    EventAbi::Fifo => FifoPriority::new(*priority).unwrap(),
                    EventAbi::TwoLevel => FifoPriority::DEFAULT,
                };
                let path = match (path, domain.kind) {
                    (2 | 5, DomainKind::Hvm) => Path::Remapped { to, guest_vector, handler },
                    (3, DomainKind::Hvm) if is_posted_to => {
                        kind = SourceKind::Posted;
                        host_vector = None;
                        Path::Posted { to, guest_vector, handler }
                    }
                    (6, DomainKind::Hvm) => {
                        kind = SourceKind::EdgeMaskable;
                        host_vector = None;
                        let from = VcpuRef { vcpu: pick(target_of, u32::try_from(domain.vcpus.len()).unwrap()), ..to };
                        Path::Ipi { from, to, guest_vector, handler }
                    }
                    (4, _) => {
                        kind = SourceKind::EdgeMaskable;
                        host_vector = None;
                        Path::EventChannel { to, handler, priority }
                    }
                    _ => Path::EventChannel { to, handler, priority },
                };
                (Some(domain.id.0), path)
            }
        };
        sources.push(SourceConfig {
            id: SourceId(id),
            label: format!("s{id}"),
            owner: owner_of.map_or(Owner::System, owner),
            kind,
            vector: host_vector,
            target,
            path,
        });
    }
    sources
}

fn config() -> impl Strategy<Value = MachineConfig> {
    let model = prop_oneof![Just(DestinationModel::Physical), Just(DestinationModel::Logical { cluster_size: 2 })];
    let policy = prop_oneof![Just(Policy::XenCursor), Just(Policy::Spread), Just(Policy::BelowDom0)];
    let ack = prop_oneof![Just(IoApicAck::New), Just(IoApicAck::Old)];
    let vendor = prop_oneof![Just(Vendor::Intel), Just(Vendor::Amd)];
    (1u32..5, vendor, model, policy, ack, scheduler(), vec(domain(), 1..4), vec(source(), 1..7), any::<bool>())
        .prop_map(|(cpus, vendor, model, policy, ioapic_ack, scheduler, wanted_domains, wanted_sources, is_free)| {
            let domains = domains(cpus, vendor, scheduler, &wanted_domains);
            let sources = sources(cpus, model, &domains, &wanted_sources);
            let mut costs = Costs::default();
            for info in Costs::table().iter().filter(|_| is_free) {
                costs.set(info.name, Span(0)).unwrap();
            }
            MachineConfig { vendor, model, policy, ioapic_ack, scheduler, domains, sources, costs, ..empty(cpus) }
        })
}

/// Every raise of a source was completed, or became one with another.
fn check_conservation(run: &Run, sources: u32) {
    for source in 0..sources {
        let raised = run.count(|fact| matches!(fact, Fact::Raised { source: s } if s.0 == source));
        let merged = run.count(|fact| matches!(fact, Fact::Coalesced { source: s } if s.0 == source));
        let completed = run.completed(source).len();
        assert_eq!(raised, merged + completed, "source {source}: {merged} merged, {completed} completed");
    }
}

/// Every start of something has its end, after it and under the same name, and the times between are bounded.
fn check_spans(run: &Run, config: &MachineConfig) {
    // One above the other on a CPU, delayed EOIs each end in time but wait for the one above, dom0's and the hypervisor's
    // own among them: the bound holds once for each.
    let delayed = config
        .sources
        .iter()
        .filter(|source| source.owner == Owner::System || source.kind.retains_in_service(config.ioapic_ack));
    let retention_bound = (FORCED_EOI_NS + 10_000) * delayed.count() as u64;
    let mut blocked: BTreeMap<(u32, u32, u32, BlockCause), u64> = BTreeMap::new();
    let mut retained: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut running: BTreeMap<u32, u32> = BTreeMap::new();
    for (at, fact) in &run.driver.facts {
        match *fact {
            Fact::Blocked { victim, by, cpu, cause } => {
                let dom0 = !config.sources[victim.0 as usize].owner.is_guest();
                assert!(dom0 && config.sources[by.0 as usize].owner.is_guest(), "{fact:?}");
                assert_eq!(blocked.insert((victim.0, by.0, cpu.0, cause), at.0), None, "{fact:?} twice");
            }
            Fact::Unblocked { victim, by, cpu, cause } => {
                let since = blocked.remove(&(victim.0, by.0, cpu.0, cause)).expect("unblocked what was blocked");
                if cause == BlockCause::InService {
                    assert!(at.0 - since <= retention_bound, "{fact:?} after {} ns", at.0 - since);
                }
            }
            Fact::RetentionBegan { source, cpu } => {
                assert_eq!(retained.insert((source.0, cpu.0), at.0), None, "{fact:?} twice");
            }
            Fact::RetentionEnded { source, cpu, .. } => {
                let since = retained.remove(&(source.0, cpu.0)).expect("a retention that began");
                assert!(at.0 - since <= retention_bound, "{fact:?} after {} ns", at.0 - since);
            }
            Fact::VcpuRuns { cpu, .. } => *running.entry(cpu.0).or_default() += 1,
            Fact::VcpuStops { cpu, .. } => *running.get_mut(&cpu.0).unwrap() -= 1,
            Fact::HandlerEntered { vcpu, cpu, .. } => {
                assert_eq!(running.get(&cpu.0), Some(&1), "{vcpu:?} handles on a CPU that runs it");
            }
            _ => {}
        }
        assert!(running.values().all(|count| *count <= 1), "two vCPUs on one CPU");
    }
    assert!(blocked.is_empty(), "never unblocked: {blocked:?}");
    assert!(retained.is_empty(), "never ended: {retained:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_interrupt_completes_once_or_merges_and_every_wait_ends(
        config in config(),
        raises in vec((0..LAST_RAISE, any::<Index>()), 1..60),
    ) {
        let sources = u32::try_from(config.sources.len()).unwrap();
        let mut run = Run::new(&config);
        let mut raises = raises;
        raises.sort_by_key(|(at, _)| *at);
        for (at, source) in raises {
            if sources > 0 {
                run.raise(at, pick(&source, sources));
            }
        }
        run.until(LAST_RAISE + SETTLED);
        check_conservation(&run, sources);
        check_spans(&run, &config);
    }
}
