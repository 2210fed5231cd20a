//! A host under load, as large as asked: the machine on the wheel, every source raised again two milliseconds, on average,
//! after its last interrupt was handled. One operation is one event of the calendar.

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
use carillon_sim::Wheel;
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

use crate::hold::Distances;

/// vCPUs that share a CPU.
const VCPUS_PER_CPU: u32 = 4;
/// Ports of one vCPU.
const PORTS_PER_VCPU: u32 = 32;
/// vCPUs of one domain.
const VCPUS_PER_DOMAIN: u32 = 8;
/// How many times as long as the distances of the hold model, mean 1000 ns, a port is silent.
const SILENCE: u64 = 2000;

#[derive(Clone, Copy)]
enum Event {
    Raise(SourceIndex),
    Expire(Timer),
}

struct World {
    calendar: Wheel<Event>,
    distances: Distances,
}

impl Host for World {
    fn schedule(&mut self, at: Time, timer: Timer) {
        self.calendar.schedule(at.0, Event::Expire(timer));
    }

    fn observe(&mut self, at: Time, fact: Fact) {
        if let Fact::Completed { source } = fact {
            self.calendar.schedule(at.0 + self.distances.draw() * SILENCE, Event::Raise(source));
        }
    }
}

/// Ports of one CPU's four vCPUs.
pub(crate) const PORTS_PER_CPU: u32 = VCPUS_PER_CPU * PORTS_PER_VCPU;

/// A host of `cpus` CPUs with four vCPUs and 128 ports each, of which `active` ports, far apart, are ever raised.
pub(crate) fn host(cpus: u32, active: u32) -> impl FnMut(u64) {
    let config = config(cpus);
    let mut machine = Machine::new(&config).expect("the configuration is sound");
    let mut world = World { calendar: Wheel::new(), distances: Distances::default() };
    machine.start(Time(0), &mut world);
    // An odd distance visits every CPU, vCPU and port in turn.
    let ports = cpus * PORTS_PER_CPU;
    let apart = (ports / active) | 1;
    for source in (0..active).map(|turn| SourceIndex((turn * apart) % ports)) {
        let at = world.distances.draw() * SILENCE;
        world.calendar.schedule(at, Event::Raise(source));
    }
    move |operations| {
        for _ in 0..operations {
            let (now, event) = world.calendar.pop().expect("every interrupt handled raises the next");
            match event {
                Event::Raise(source) => machine.raise(Time(now), source, &mut world),
                Event::Expire(timer) => machine.expire(Time(now), timer, &mut world),
            }
        }
    }
}

fn config(cpus: u32) -> MachineConfig {
    let layout = VectorLayout::xen(XenLayout::default());
    let vcpus = cpus * VCPUS_PER_CPU;
    let domains = (0..vcpus.div_ceil(VCPUS_PER_DOMAIN)).map(|domain| {
        let members = (domain * VCPUS_PER_DOMAIN..vcpus).take(VCPUS_PER_DOMAIN as usize);
        let vcpus = members.map(|vcpu| VcpuConfig {
            affinity: CpuSet::single(CpuId(vcpu % cpus)),
            start: CpuId(vcpu % cpus),
            load: VcpuLoad::Idle,
        });
        let id = domain_id(domain);
        DomainConfig {
            id,
            owner: Owner::Guest(id),
            name: String::new(),
            kind: DomainKind::Pv,
            engine: Engine::Software,
            event_abi: EventAbi::Fifo,
            software_eoi: EoiMode::Early,
            deferred: None,
            vcpus: vcpus.collect(),
        }
    });
    let vectors: Vec<Vector> = layout.leasable(CpuId::BOOT).iter().collect();
    let sources = (0..vcpus * PORTS_PER_VCPU).map(|port| {
        let vcpu = port / PORTS_PER_VCPU;
        let domain = domain_id(vcpu / VCPUS_PER_DOMAIN);
        SourceConfig {
            id: SourceId(port),
            label: String::new(),
            owner: Owner::Guest(domain),
            kind: SourceKind::EdgeMaskable,
            vector: Some(vectors[(vcpu / cpus * PORTS_PER_VCPU + port % PORTS_PER_VCPU) as usize]),
            target: CpuId(vcpu % cpus),
            path: Path::EventChannel {
                to: VcpuRef { domain, vcpu: vcpu % VCPUS_PER_DOMAIN },
                handler: Span(2000),
                priority: FifoPriority::DEFAULT,
            },
        }
    });
    MachineConfig {
        cpus,
        vendor: Vendor::Intel,
        model: DestinationModel::Physical,
        ioapic_ack: IoApicAck::New,
        policy: Policy::XenCursor,
        scheduler: Scheduler::Credit2 { ratelimit: Span(1_000_000), slice: Span(2_000_000) },
        costs: Costs::default(),
        domains: domains.collect(),
        sources: sources.collect(),
        layout,
    }
}

fn domain_id(index: u32) -> DomainId {
    DomainId(u16::try_from(index + 1).expect("a bar's host has some hundred domains"))
}

/// The bytes this process has in memory, from `/proc/self/statm`.
pub(crate) fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.map_or(f64::NAN, |pages| pages * rustix::param::page_size() as f64)
}
