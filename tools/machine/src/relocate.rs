//! Moving an interrupt: because its vCPU runs elsewhere (Xen: `evtchn_move_pirqs`, `hvm_migrate_pirqs`), or because a
//! plan says so. The old vector stays live until it has drained.

use alloc::vec::Vec;

use vector_allocator::AckType;
use vector_allocator::AdoptError;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Drain;
use vector_allocator::HostError;
use vector_allocator::Lease;
use vector_allocator::Move;
use vector_allocator::Owner;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;

use crate::Fact;
use crate::Host;
use crate::Machine;
use crate::MachineConfig;
use crate::SourceIndex;
use crate::Time;
use crate::irq::OldSlot;
use crate::irq::Service;
use crate::out::Out;
use crate::source::Link;
use crate::source::Route;

/// A source's move as a plan orders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Relocation {
    /// What moves.
    pub source: SourceIndex,
    /// Where to.
    pub cpu: CpuId,
    /// The vector it gets there; the machine's policy draws one if none is given.
    pub vector: Option<Vector>,
}

/// A move that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// There is no such source.
    #[error("there is no source of index {0}")]
    NoSuchSource(u32),
    /// The source has no host vector to move.
    #[error("source of index {0} has no host vector")]
    NoVector(u32),
    /// There is no such CPU, or it is offline.
    #[error("CPU {0} is not there to move to")]
    NoSuchCpu(CpuId),
    /// The move before has not drained.
    #[error("vector {0} of the move before is not drained yet")]
    Draining(Vector),
    /// Its EOI is delayed, and it is in service or about to be.
    #[error("vector {0} is in service or waits to be")]
    InService(Vector),
    /// The policy finds no vector.
    #[error("no vector to move to")]
    NoneLeft(#[source] vector_allocator::MoveError),
    /// The vector asked for cannot be had.
    #[error("the vector asked for cannot be had")]
    NotToBeHad(#[source] AdoptError),
}

/// The arbiter of vectors and which lease is whose.
#[derive(Debug)]
pub(crate) struct Arbiter {
    pub(crate) vectors: VectorAllocator,
    model: DestinationModel,
    /// By interrupt.
    tenants: Vec<Tenant>,
}

#[derive(Clone, Copy, Debug)]
struct Tenant {
    owner: Owner,
    kind: SourceKind,
    lease: Lease,
    /// The lease of the old vector, when a plan named the new one.
    retiring: Option<Lease>,
}

impl Arbiter {
    /// The arbiter of a machine with at most so many interrupts.
    pub(crate) fn new(config: &MachineConfig, irqs: usize) -> Result<Self, HostError> {
        let online = CpuSet::first_n(config.cpus);
        let (layout, model) = (config.layout.clone(), config.model);
        let vectors = VectorAllocator::new(layout, model, config.cpus, &online, config.policy, config.ioapic_ack)?;
        Ok(Self { vectors, model, tenants: Vec::with_capacity(irqs) })
    }

    /// The CPUs on which a vector sent to `cpu` is taken.
    pub(crate) fn holders(&self, cpu: CpuId) -> CpuSet {
        self.model.holders(cpu, self.vectors.online())
    }

    /// Takes over the next interrupt as it is configured.
    pub(crate) fn adopt(
        &mut self,
        owner: Owner,
        kind: SourceKind,
        cpu: CpuId,
        vector: Vector,
    ) -> Result<(), AdoptError> {
        let lease = self.vectors.adopt(owner, kind, vector, &self.holders(cpu), cpu)?;
        self.tenants.push(Tenant { owner, kind, lease, retiring: None });
        Ok(())
    }

    pub(crate) fn lease(&self, irq: u32) -> Lease {
        self.tenants[irq as usize].lease
    }
}

impl Machine {
    /// Carries out one move of a plan.
    ///
    /// # Errors
    /// [`MoveError`] says what stands against it; nothing has changed then.
    pub fn apply_move(&mut self, now: Time, relocation: Relocation, host: &mut impl Host) -> Result<(), MoveError> {
        let Relocation { source, cpu, vector } = relocation;
        let entry = self.sources.get(source.0 as usize).ok_or(MoveError::NoSuchSource(source.0))?;
        let irq = entry.irq.get().ok_or(MoveError::NoVector(source.0))?;
        if !self.cpus.get(cpu.index()).is_some_and(|cpu| cpu.is_online) {
            return Err(MoveError::NoSuchCpu(cpu));
        }
        self.drain(irq);
        if let Some(old) = self.irqs[irq as usize].old {
            return Err(MoveError::Draining(old.vector));
        }
        if self.must_stay(irq) {
            return Err(MoveError::InService(self.irqs[irq as usize].vector));
        }
        let out = &mut Out::new(now, host);
        match vector {
            Some(vector) => self.move_to_vector(irq, cpu, vector, out),
            None => self.move_to_cpu(irq, cpu, out),
        }
    }

    /// An interrupt whose EOI is delayed must not be in service on two CPUs, so it moves only between services.
    fn must_stay(&self, irq: u32) -> bool {
        let entry = &self.irqs[irq as usize];
        let route = self.sources[entry.first.0 as usize].route;
        let delayed = entry.ack == AckType::Eoi || matches!(route, Route::Interruptible | Route::Uninterruptible);
        let waits = self.cpus[entry.cpu.index()].lapic.waiting().contains(entry.vector);
        delayed && (entry.service != Service::Idle || waits)
    }

    /// Follows the vCPU that handles an interrupt if it has run elsewhere since, as Xen does when the interrupt fires.
    pub(crate) fn follow<H: Host>(&mut self, irq: u32, out: &mut Out<'_, H>) {
        self.drain(irq);
        let entry = &self.irqs[irq as usize];
        let Some(vcpu) = self.sources[entry.first.0 as usize].vcpu.get() else {
            return;
        };
        let cpu = self.vcpus[vcpu as usize].cpu;
        if cpu == entry.followed || entry.old.is_some() || self.must_stay(irq) {
            return;
        }
        let source = entry.first;
        self.irqs[irq as usize].followed = cpu;
        if cpu != self.irqs[irq as usize].cpu && self.move_to_cpu(irq, cpu, out).is_err() {
            out.observe(Fact::MoveFailed { source, cpu });
        }
    }

    /// Moves an interrupt to a CPU, under a vector that the policy draws if its own is not taken there.
    pub(crate) fn move_to_cpu<H: Host>(&mut self, irq: u32, cpu: CpuId, out: &mut Out<'_, H>) -> Result<(), MoveError> {
        let lease = self.arbiter.lease(irq);
        match self.arbiter.vectors.begin_move(lease, &CpuSet::single(cpu)).map_err(MoveError::NoneLeft)? {
            Move::Kept { target } => self.retarget(irq, target, out),
            Move::Started { vector, target, .. } => self.program(irq, target, vector, out),
        }
        Ok(())
    }

    fn move_to_vector<H: Host>(
        &mut self,
        irq: u32,
        cpu: CpuId,
        vector: Vector,
        out: &mut Out<'_, H>,
    ) -> Result<(), MoveError> {
        let holders = self.arbiter.holders(cpu);
        if vector == self.irqs[irq as usize].vector && holders.contains(self.irqs[irq as usize].cpu) {
            return self.move_to_cpu(irq, cpu, out);
        }
        let Tenant { owner, kind, lease, .. } = self.arbiter.tenants[irq as usize];
        let new = self.arbiter.vectors.adopt(owner, kind, vector, &holders, cpu).map_err(MoveError::NotToBeHad)?;
        self.arbiter.tenants[irq as usize] = Tenant { owner, kind, lease: new, retiring: Some(lease) };
        self.program(irq, cpu, vector, out);
        Ok(())
    }

    /// The vector stays, the destination changes.
    fn retarget<H: Host>(&mut self, irq: u32, cpu: CpuId, out: &mut Out<'_, H>) {
        let entry = &mut self.irqs[irq as usize];
        entry.cpu = cpu;
        entry.write_entry(&self.apics);
        out.observe(Fact::Moved { source: entry.first, cpu, vector: entry.vector });
    }

    /// The new vector is taken where it goes; the old one keeps its meaning until it has drained.
    fn program<H: Host>(&mut self, irq: u32, cpu: CpuId, vector: Vector, out: &mut Out<'_, H>) {
        let entry = &mut self.irqs[irq as usize];
        let old = OldSlot { cpu: entry.cpu, vector: entry.vector };
        (entry.cpu, entry.vector, entry.old) = (cpu, vector, Some(old));
        entry.write_entry(&self.apics);
        out.observe(Fact::Moved { source: entry.first, cpu, vector });
        for holder in self.arbiter.holders(cpu).iter() {
            self.set_slot(holder, vector, Link::to(irq));
        }
    }

    /// Frees the vector of a move before, once no CPU has it waiting or in service. Nothing new can come on it: sources
    /// send under the new vector since the move.
    #[inline]
    fn drain(&mut self, irq: u32) {
        if let Some(old) = self.irqs[irq as usize].old {
            self.drain_old(irq, old);
        }
    }

    fn drain_old(&mut self, irq: u32, old: OldSlot) {
        let holders = self.arbiter.holders(old.cpu);
        let live = |cpu: CpuId| {
            let lapic = &self.cpus[cpu.index()].lapic;
            lapic.waiting().contains(old.vector) || lapic.in_service().contains(old.vector)
        };
        let pending: CpuSet = holders.iter().filter(|cpu| live(*cpu)).collect();
        let tenant = &mut self.arbiter.tenants[irq as usize];
        match tenant.retiring {
            Some(_) if !pending.is_empty() => return,
            Some(lease) => {
                tenant.retiring = None;
                // A lease that only its tenant knows cannot be stale; if it were, its vector would be free already.
                let _ = self.arbiter.vectors.release(lease);
            }
            None => match self.arbiter.vectors.finish_move(tenant.lease, &pending) {
                Ok(Drain::Waiting(_)) => return,
                Ok(Drain::Done) | Err(_) => {}
            },
        }
        for holder in holders.iter() {
            if self.slot(holder, old.vector) == Some(irq) {
                self.set_slot(holder, old.vector, Link::NONE);
            }
        }
        self.irqs[irq as usize].old = None;
    }

    /// An interrupt got another place because its CPU went: nothing drains there any more.
    pub(crate) fn replace<H: Host>(
        &mut self,
        irq: u32,
        cpu: CpuId,
        vector: Vector,
        holders: &CpuSet,
        out: &mut Out<'_, H>,
    ) {
        let entry = &mut self.irqs[irq as usize];
        (entry.cpu, entry.vector) = (cpu, vector);
        entry.write_entry(&self.apics);
        out.observe(Fact::Moved { source: entry.first, cpu, vector });
        for holder in holders.iter() {
            self.set_slot(holder, vector, Link::to(irq));
        }
    }

    /// The old vector of a move was on a CPU that went; other CPUs of its cluster let go of it as they drain.
    pub(crate) fn forget_old(&mut self, irq: u32, gone: CpuId) {
        if self.irqs[irq as usize].old.is_some_and(|old| old.cpu == gone) {
            self.drain(irq);
        }
    }
}
