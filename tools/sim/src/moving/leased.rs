//! A device whose interrupts the host takes, under vectors of the arbiter.

use hypervisor_abi::DomainId;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::LeasedSources;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Source;
use hypervisor_lib::migration::SourceHost;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

use super::Effect;
use super::Move;
use super::MoveFault;
use super::wires::KICK;
use super::wires::NOTIFICATION;
use super::wires::Wires;

/// The guest.
pub(super) const GUEST: DomainId = DomainId(1);

/// The arbiter and the device's leases.
#[derive(Debug)]
pub(super) struct Leased {
    vectors: VectorAllocator,
    sources: Vec<Source>,
}

impl Leased {
    /// A device with so many interrupts, all on the CPU that the vCPU is about to leave, and programmed so.
    pub(super) fn new(of: &Move, host: &impl SourceHost) -> Result<Self, MoveFault> {
        let (from, cpus) = (CpuSet::single(of.from), of.from.0.max(of.to.0) + 1);
        let online = [of.from, of.to].into_iter().collect();
        let layout = VectorLayout::xen(XenLayout::default());
        let (model, policy, ack) = (DestinationModel::Physical, Policy::BelowDom0, IoApicAck::New);
        let mut vectors = VectorAllocator::new(layout, model, cpus, &online, policy, ack)?;
        let mut sources = Vec::new();
        for irq in of.irqs() {
            let lease = vectors.allocate(Owner::Guest(GUEST), SourceKind::EdgeMaskable, &from)?;
            sources.push(Source { irq, lease });
        }
        let mut leased = Self { vectors, sources };
        for source in leased.sources.clone() {
            leased.carry_out(&Step::Program(source), host).map_err(MoveFault::SetUp)?;
        }
        Ok(leased)
    }

    /// What follows the vCPU.
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// A step on vectors.
    pub(super) fn carry_out(&mut self, step: &Step, host: &impl SourceHost) -> Result<Outcome, StepError> {
        LeasedSources { vectors: &mut self.vectors, host }.carry_out(step)
    }

    /// The device's interrupt that a CPU has taken, if the vector is one's; notes it.
    pub(super) fn identify(&self, vector: Vector, cpu: CpuId, wires: &Wires) -> Option<u32> {
        if [NOTIFICATION, KICK].contains(&vector) {
            wires.note(Effect::Noticed(vector.number(), cpu));
            return None;
        }
        let is_its = |source: &&Source| {
            self.vectors.placement(source.lease).is_ok_and(|placement| {
                let is_new = placement.vector == vector && placement.target == cpu;
                let old = placement.moving_from;
                is_new || old.is_some_and(|old| old.vector == vector && old.holders.to_set().contains(cpu))
            })
        };
        let irq = self.sources.iter().find(is_its).map(|source| source.irq);
        wires.note(match irq {
            Some(irq) => Effect::Handled(vector.number(), cpu, irq),
            None => Effect::Stray(vector.number(), cpu),
        });
        irq
    }
}
