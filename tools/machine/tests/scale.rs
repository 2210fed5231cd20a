//! A machine of 1024 CPUs, 4096 vCPUs and 131072 event ports: it fits, and works.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;

use carillon_machine::Costs;
use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::Engine;
use carillon_machine::EoiMode;
use carillon_machine::EventAbi;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
use carillon_machine::Host;
use carillon_machine::Machine;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::Scheduler;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::Timer;
use carillon_machine::VcpuConfig;
use carillon_machine::VcpuLoad;
use carillon_machine::VcpuRef;
use carillon_machine::Vendor;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

const CPUS: u32 = 1024;
const DOMAINS: u16 = 64;
const VCPUS_EACH: u32 = 64;
const PORTS: u32 = 131_072;
/// Ports with a host vector: 16 to a CPU.
const HARDWARE: u32 = CPUS * 16;
/// Half of what machine and engine together may take.
const LIMIT: u64 = 32 << 20;

/// Counts instead of keeping.
#[derive(Default)]
struct Counter {
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    set: Vec<Timer>,
    completed: u64,
    merged: u64,
}

impl Host for Counter {
    fn schedule(&mut self, at: Time, timer: Timer) {
        self.timers.push(Reverse((at, self.set.len())));
        self.set.push(timer);
    }

    fn observe(&mut self, _at: Time, fact: Fact) {
        match fact {
            Fact::Completed { .. } => self.completed += 1,
            Fact::Coalesced { .. } => self.merged += 1,
            _ => {}
        }
    }
}

fn owner(domain: u16) -> Owner {
    if domain == 0 { Owner::Dom0 } else { Owner::Guest(DomainId(domain)) }
}

fn domains() -> Vec<DomainConfig> {
    (0..DOMAINS)
        .map(|domain| DomainConfig {
            id: DomainId(domain),
            owner: owner(domain),
            name: format!("d{domain}"),
            kind: DomainKind::Pv,
            engine: Engine::Software,
            event_abi: EventAbi::Fifo,
            software_eoi: EoiMode::Early,
            deferred: None,
            vcpus: (0..VCPUS_EACH)
                .map(|vcpu| VcpuConfig {
                    affinity: CpuSet::first_n(CPUS),
                    start: CpuId((u32::from(domain) * VCPUS_EACH + vcpu) % CPUS),
                    load: VcpuLoad::Idle,
                })
                .collect(),
        })
        .collect()
}

fn source(port: u32) -> SourceConfig {
    let domain = u16::try_from(port % u32::from(DOMAINS)).unwrap();
    let vector = 0x31 + u8::try_from(port / CPUS % 16).unwrap();
    SourceConfig {
        id: SourceId(port),
        label: String::new(),
        owner: owner(domain),
        kind: SourceKind::EdgeMaskable,
        vector: (port < HARDWARE).then(|| Vector::new(vector).unwrap()),
        target: CpuId(port % CPUS),
        path: Path::EventChannel {
            to: VcpuRef { domain: DomainId(domain), vcpu: port / u32::from(DOMAINS) % VCPUS_EACH },
            handler: Span(2_000),
            priority: FifoPriority::DEFAULT,
        },
    }
}

/// Memory this process has in use, bytes (`/proc/self/statm`, second field, 4 KiB pages).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_machine_of_1024_cpus_4096_vcpus_and_131072_ports_fits_and_loses_nothing() {
    let config = MachineConfig {
        cpus: CPUS,
        vendor: Vendor::Intel,
        model: DestinationModel::Physical,
        layout: VectorLayout::xen(XenLayout::default()),
        ioapic_ack: IoApicAck::New,
        policy: Policy::XenCursor,
        scheduler: Scheduler::Credit2 { ratelimit: Span(1_000_000), slice: Span(10_000_000) },
        costs: Costs::default(),
        domains: domains(),
        sources: (0..PORTS).map(source).collect(),
    };
    let before = resident();
    let mut machine = Machine::new(&config).unwrap();
    let taken = resident() - before;
    assert!(taken < LIMIT, "{} KiB", taken >> 10);

    let mut host = Counter::default();
    machine.start(Time(0), &mut host);
    let raises = u64::from(PORTS);
    for port in 0..PORTS {
        let now = Time(u64::from(port) * 20);
        while let Some(Reverse((at, index))) = host.timers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            host.timers.pop();
            machine.expire(at, host.set[index], &mut host);
        }
        machine.raise(now, SourceIndex(port.wrapping_mul(40_503) % PORTS), &mut host);
    }
    while let Some(Reverse((at, index))) = host.timers.pop() {
        machine.expire(at, host.set[index], &mut host);
    }
    assert_eq!(host.completed + host.merged, raises);
    assert!(host.set.len() as u64 <= raises * 12, "{} timers", host.set.len());
    machine.check().unwrap();
}
