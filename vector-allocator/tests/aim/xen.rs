//! A Xen to try aimed moves on: the allocator under the `xen-cursor` policy, which draws as `_assign_irq_vector` does, with
//! moves that take effect late, and a rival that draws in between.

use std::convert::Infallible;

use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Lease;
use vector_allocator::Mobility;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;
use vector_allocator::aim::Deed;
use vector_allocator::aim::Host;
use vector_allocator::aim::Lever;
use vector_allocator::aim::Mover;

pub(crate) const CPUS: u32 = 4;

/// A host that behaves as Xen does.
#[derive(Clone, Debug)]
pub(crate) struct Xen {
    allocator: VectorAllocator,
    model: DestinationModel,
    sources: Vec<Source>,
    pub(crate) movers: Vec<Mover>,
    /// How many readings a deed takes to show.
    pub(crate) delay: u32,
    /// How many vectors somebody else draws before each deed takes effect.
    pub(crate) rival: u32,
    /// Sources that never fire, so that Xen never moves them.
    pub(crate) silent: Vec<SourceId>,
    /// Sources that a plan may not move.
    fixed: Vec<SourceId>,
    waiting: Option<(u32, Deed)>,
    pub(crate) deeds: usize,
}

#[derive(Clone, Debug)]
struct Source {
    id: SourceId,
    owner: Owner,
    kind: SourceKind,
    lease: Lease,
    reachable: CpuSet,
}

impl Xen {
    pub(crate) fn new(model: DestinationModel) -> Self {
        let layout = VectorLayout::xen(XenLayout::default());
        let online = CpuSet::first_n(CPUS);
        let allocator =
            VectorAllocator::new(layout, model, CPUS, &online, Policy::XenCursor, IoApicAck::New).expect("a host");
        Self {
            allocator,
            model,
            sources: Vec::new(),
            movers: Vec::new(),
            delay: 0,
            rival: 0,
            silent: Vec::new(),
            fixed: Vec::new(),
            waiting: None,
            deeds: 0,
        }
    }

    /// Draws a vector and gives it back, so many times.
    pub(crate) fn turn(&mut self, draws: u32) {
        for _ in 0..draws {
            let cpu = CpuSet::single(CpuId(1));
            let lease = self.allocator.allocate(Owner::System, SourceKind::EdgeMaskable, &cpu).expect("a vector");
            self.allocator.release(lease).expect("it was leased just now");
        }
    }

    /// A source that keeps to `cpus`, on the first of them, with a lever of its own.
    pub(crate) fn add(&mut self, irq: u32, owner: Owner, kind: SourceKind, cpus: &CpuSet) {
        let first = CpuSet::single(cpus.first().expect("a CPU"));
        let lease = self.allocator.allocate(owner, kind, &first).expect("a vector");
        let id = SourceId(irq);
        self.sources.push(Source { id, owner, kind, lease, reachable: cpus.clone() });
        let lever = match owner {
            Owner::Guest(domain) => Lever::Vcpu { domain, vcpu: irq },
            Owner::Dom0 | Owner::System => Lever::Interrupt(id),
        };
        self.movers.push(Mover { lever, sources: vec![id], silent: Vec::new(), cpus: CpuSet::first_n(CPUS) });
    }

    pub(crate) fn host(&self) -> Assignment {
        let source = |source: &Source| {
            let placement = self.allocator.placement(source.lease).expect("a lease");
            AssignedSource {
                id: source.id,
                label: format!("IRQ {}", source.id.0),
                owner: source.owner,
                binders: vec![source.owner],
                kind: source.kind,
                vector: placement.vector,
                holders: placement.holders.to_set(),
                target: CpuSet::single(placement.target),
                reachable: source.reachable.clone(),
                mobility: if self.fixed.contains(&source.id) {
                    Mobility::Fixed("it does not fire".to_owned())
                } else {
                    Mobility::Movable
                },
            }
        };
        Assignment {
            layout: VectorLayout::xen(XenLayout::default()),
            model: self.model,
            online: CpuSet::first_n(CPUS),
            ioapic_ack: IoApicAck::New,
            sources: self.sources.iter().map(source).collect(),
        }
    }

    /// The vector of a source.
    pub(crate) fn vector(&self, irq: u32) -> u8 {
        let host = self.host();
        host.sources.iter().find(|source| source.id == SourceId(irq)).expect("a source").vector.number()
    }

    /// No plan may move it.
    pub(crate) fn fix(&mut self, irq: u32) {
        self.fixed.push(SourceId(irq));
    }

    /// Attaches what hangs on the lever of `irq` as a device that can be attached again.
    pub(crate) fn make_device(&mut self, irq: u32) {
        let sources = vec![SourceId(irq)];
        self.movers.push(Mover {
            lever: Lever::Device { source: SourceId(irq) },
            sources,
            silent: Vec::new(),
            cpus: CpuSet::new(),
        });
    }

    fn take_effect(&mut self, deed: &Deed) {
        self.turn(self.rival);
        let mover = self.movers.iter().find(|mover| mover.lever == deed.lever()).expect("a lever").clone();
        for id in mover.sources.iter().chain(&mover.silent) {
            let index = self.sources.iter().position(|source| source.id == *id).expect("a source");
            let Source { lease, owner, kind, .. } = self.sources[index];
            let target = self.allocator.placement(lease).expect("a lease").target;
            let to = match deed {
                Deed::Keep { cpus, .. } => {
                    self.sources[index].reachable = cpus.clone();
                    if cpus.contains(target) { target } else { cpus.first().expect("a CPU") }
                }
                Deed::Send { to, .. } => *to,
                Deed::Reattach { .. } => {
                    self.allocator.release(lease).expect("a lease");
                    let target = CpuSet::single(target);
                    self.sources[index].lease = self.allocator.allocate(owner, kind, &target).expect("a vector");
                    continue;
                }
            };
            if let Deed::Send { to, .. } = deed {
                self.sources[index].reachable = CpuSet::single(*to);
            }
            if self.silent.contains(id) {
                // It may be sent elsewhere, and is still where it is.
                self.sources[index].reachable.insert(target);
                continue;
            }
            if self.allocator.begin_move(lease, &CpuSet::single(to)).is_ok() {
                // Nothing drains if the vector was kept.
                let _: Result<_, _> = self.allocator.finish_move(lease, &CpuSet::new());
            }
        }
    }
}

impl Host for Xen {
    type Error = Infallible;

    fn read(&mut self) -> Result<Assignment, Infallible> {
        match self.waiting.take() {
            Some((0, deed)) => self.take_effect(&deed),
            Some((looks, deed)) => self.waiting = Some((looks - 1, deed)),
            None => {}
        }
        Ok(self.host())
    }

    fn carry_out(&mut self, deed: &Deed) -> Result<(), Infallible> {
        assert!(self.waiting.is_none(), "it is to wait for what it did before");
        self.deeds += 1;
        self.waiting = Some((self.delay, deed.clone()));
        Ok(())
    }
}

pub(crate) const GUEST: Owner = Owner::Guest(DomainId(1));

/// Runs it to its end, which comes within a bound.
pub(crate) fn run<H: Host<Error = Infallible>>(
    apply: &mut vector_allocator::aim::Apply,
    host: &mut H,
) -> vector_allocator::aim::Outcome {
    for _ in 0..20_000 {
        let Ok(progress) = apply.step(host);
        if let vector_allocator::aim::Progress::Over(outcome) = progress {
            return outcome;
        }
    }
    panic!("it does not end: {:#?}", apply.done());
}
