//! The whole of the vector-priority model under load: interrupts of every kind, arbitrated by two local APICs, that nest,
//! retain their in-service bits, end, and move between the CPUs. One operation is one event of the calendar.

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
use carillon_machine::Relocation;
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

const CPUS: u32 = 2;
/// Sources of one CPU: most of its vectors, with room for those that move to it.
const SOURCES_PER_CPU: u32 = 160;
/// How many times as long as the distances of the hold model, mean 1000 ns, a source is silent. CPUs are busy for half of
/// their time, so that interrupts meet.
const SILENCE: u64 = 1000;
/// Every so many completed interrupts one source moves to the other CPU.
const COMPLETIONS_PER_MOVE: u64 = 16;
/// Events after which each kind of thing must have happened.
const WARM_UP: u64 = 100_000;

#[derive(Clone, Copy)]
enum Event {
    Raise(SourceIndex),
    Move(Relocation),
    Expire(Timer),
}

/// What a benched model did, so that nobody measures one in which nothing of interest happens.
#[derive(Clone, Copy, Debug, Default)]
struct Deeds {
    completed: u64,
    moved: u64,
    nested: u64,
    retained: u64,
}

struct World {
    calendar: Wheel<Event>,
    distances: Distances,
    deeds: Deeds,
    /// Handlers begun and not ended, by CPU.
    depth: [u32; CPUS as usize],
}

impl Host for World {
    fn schedule(&mut self, at: Time, timer: Timer) {
        self.calendar.schedule(at.0, Event::Expire(timer));
    }

    fn observe(&mut self, at: Time, fact: Fact) {
        match fact {
            Fact::Completed { source } => {
                let again = at.0 + self.distances.draw() * SILENCE;
                self.calendar.schedule(again, Event::Raise(source));
                self.deeds.completed += 1;
                if self.deeds.completed.is_multiple_of(COMPLETIONS_PER_MOVE) {
                    self.calendar.schedule(again - SILENCE / 2, Event::Move(self.relocation(source)));
                }
            }
            Fact::Dispatched { cpu, .. } => {
                self.deeds.nested += u64::from(self.depth[cpu.index()] > 0);
                self.depth[cpu.index()] += 1;
            }
            Fact::HostHandlerDone { cpu, .. } => self.depth[cpu.index()] -= 1,
            Fact::RetentionBegan { .. } => self.deeds.retained += 1,
            Fact::Moved { .. } => self.deeds.moved += 1,
            _ => {}
        }
    }
}

impl World {
    /// The next move of a source: by turns to either CPU, to a vector the policy draws.
    fn relocation(&self, source: SourceIndex) -> Relocation {
        let turn = u32::try_from(self.deeds.completed / COMPLETIONS_PER_MOVE % u64::from(CPUS));
        Relocation { source, cpu: CpuId(turn.expect("there are two CPUs")), vector: None }
    }

    fn execute(&mut self, machine: &mut Machine, operations: u64) {
        for _ in 0..operations {
            let (now, event) = self.calendar.pop().expect("every interrupt handled raises the next");
            match event {
                Event::Raise(source) => machine.raise(Time(now), source, self),
                Event::Expire(timer) => machine.expire(Time(now), timer, self),
                // One that is in service, or whose CPU is full, stays where it is.
                Event::Move(relocation) => drop(machine.apply_move(Time(now), relocation, self)),
            }
        }
    }
}

/// The model, running.
pub(crate) fn model() -> impl FnMut(u64) {
    let mut machine = Machine::new(&config()).expect("the configuration is sound");
    let (distances, deeds) = (Distances::default(), Deeds::default());
    let mut world = World { calendar: Wheel::new(), distances, deeds, depth: [0; CPUS as usize] };
    machine.start(Time(0), &mut world);
    for source in (0..CPUS * SOURCES_PER_CPU).map(SourceIndex) {
        let at = world.distances.draw() * SILENCE;
        world.calendar.schedule(at, Event::Raise(source));
    }
    world.execute(&mut machine, WARM_UP);
    let Deeds { completed, moved, nested, retained } = world.deeds;
    assert!(completed > 0 && moved > 0 && nested > 0 && retained > 0, "not the whole model: {:?}", world.deeds);
    move |operations| world.execute(&mut machine, operations)
}

fn config() -> MachineConfig {
    let layout = VectorLayout::xen(XenLayout::default());
    let vectors: Vec<Vector> = layout.leasable(CpuId::BOOT).iter().collect();
    let sources = (0..CPUS * SOURCES_PER_CPU).map(|number| source(number, &vectors)).collect();
    MachineConfig {
        cpus: CPUS,
        vendor: Vendor::Intel,
        model: DestinationModel::Physical,
        ioapic_ack: IoApicAck::New,
        policy: Policy::XenCursor,
        scheduler: Scheduler::Credit2 { ratelimit: Span(1_000_000), slice: Span(2_000_000) },
        costs: Costs::default(),
        domains: vec![domain(PARAVIRTUAL, DomainKind::Pv), domain(HARDWARE, DomainKind::Hvm)],
        sources,
        layout,
    }
}

const PARAVIRTUAL: DomainId = DomainId(1);
const HARDWARE: DomainId = DomainId(2);

/// A guest with a vCPU on each CPU.
fn domain(id: DomainId, kind: DomainKind) -> DomainConfig {
    let vcpu = |cpu| VcpuConfig { affinity: CpuSet::single(cpu), start: cpu, load: VcpuLoad::Idle };
    let vcpus = (0..CPUS).map(|cpu| vcpu(CpuId(cpu))).collect();
    DomainConfig {
        id,
        owner: Owner::Guest(id),
        name: String::new(),
        kind,
        engine: Engine::Posted,
        event_abi: EventAbi::Fifo,
        software_eoi: EoiMode::Early,
        deferred: None,
        vcpus,
    }
}

/// By turns: an edge and a level on an event channel, a remapped edge, and one of the hypervisor's own on which others nest.
fn source(number: u32, vectors: &[Vector]) -> SourceConfig {
    let (cpu, turn) = (number % CPUS, number / CPUS);
    let vector = vectors[turn as usize];
    let to = |domain| VcpuRef { domain, vcpu: cpu };
    let handler = Span(2000);
    let (owner, kind, path) = match turn % 4 {
        0 => (
            PARAVIRTUAL,
            SourceKind::EdgeMaskable,
            Path::EventChannel { to: to(PARAVIRTUAL), handler, priority: FifoPriority::DEFAULT },
        ),
        1 => (
            PARAVIRTUAL,
            SourceKind::Level,
            Path::EventChannel { to: to(PARAVIRTUAL), handler, priority: FifoPriority::DEFAULT },
        ),
        2 => {
            let path = Path::Remapped { to: to(HARDWARE), guest_vector: vector, handler };
            (HARDWARE, SourceKind::EdgeMaskable, path)
        }
        _ => {
            let path = Path::Hypervisor { handler, interruptible: true };
            return of(number, cpu, Owner::System, SourceKind::EdgeMaskable, vector, path);
        }
    };
    of(number, cpu, Owner::Guest(owner), kind, vector, path)
}

fn of(number: u32, cpu: u32, owner: Owner, kind: SourceKind, vector: Vector, path: Path) -> SourceConfig {
    let (id, target) = (SourceId(number), CpuId(cpu));
    SourceConfig { id, label: String::new(), owner, kind, vector: Some(vector), target, path }
}
