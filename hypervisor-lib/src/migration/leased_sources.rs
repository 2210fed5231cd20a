//! Steps on host vectors: the arbiter's leases, and the devices that are programmed with them.

use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::Drain;
use vector_allocator::Evacuation;
use vector_allocator::Move;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorSet;

use super::carrier::Carrier;
use super::carrier::Outcome;
use super::carrier::StepError;
use super::step::Source;
use super::step::Step;

/// The hypervisor around its vectors.
pub trait SourceHost {
    /// Writes a source's vector and CPU into its remapping entry, or into the device's message, and returns once no interrupt
    /// goes by the old one; whether that could be done.
    ///
    /// # Errors
    /// It could not be written; it is as it was.
    fn program(&self, source: Source, vector: Vector, target: CpuId) -> Result<(), NotProgrammed>;

    /// The CPUs on which a vector waits (IRR) or is in service (ISR).
    fn live_on(&self, vector: Vector) -> CpuSet;

    /// What waits in the IRR of a CPU that goes.
    fn waiting_on(&self, cpu: CpuId) -> VectorSet;

    /// What comes of a CPU's going: send what waited again, program what has moved, silence what is stranded.
    fn evacuated(&self, evacuation: Evacuation);
}

/// An entry or message could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry could not be written")]
pub struct NotProgrammed;

/// The arbiter, and the hypervisor around it.
#[derive(Debug)]
pub struct LeasedSources<'v, H> {
    /// The arbiter.
    pub vectors: &'v mut VectorAllocator,
    /// The hypervisor.
    pub host: &'v H,
}

impl<H: SourceHost> LeasedSources<'_, H> {
    /// Takes a vector on a CPU. Asked again after it has been refused, or done, it does no more than is missing.
    fn reserve(&mut self, source: Source, cpu: CpuId) -> Result<(), StepError> {
        let moved = self.vectors.begin_move(source.lease, &CpuSet::single(cpu));
        moved.map(|_| ()).map_err(|error| StepError::NoVector(source, error))
    }

    fn take_back(&mut self, source: Source, cpu: CpuId) -> Result<(), StepError> {
        let only = CpuSet::single(cpu);
        if self.old_vector(source)?.is_none() {
            return self.reserve(source, cpu);
        }
        match self.vectors.turn_back(source.lease, &only) {
            Ok(Move::Started { .. } | Move::Kept { .. }) => Ok(()),
            Err(error) => Err(StepError::NoWayBack(source, error)),
        }
    }

    fn program(&self, source: Source) -> Result<(), StepError> {
        let placement = self.vectors.placement(source.lease).map_err(|error| StepError::Stale(source, error))?;
        let programmed = self.host.program(source, placement.vector, placement.target);
        programmed.map_err(|_| StepError::NotProgrammed(source))
    }

    /// A vector that was kept has nothing to drain.
    fn drain(&self, source: Source) -> Result<(), StepError> {
        let Some((vector, holders)) = self.old_vector(source)? else { return Ok(()) };
        let cpus = self.host.live_on(vector).intersection(&holders);
        if cpus.is_empty() { Ok(()) } else { Err(StepError::Undrained { from: source, vector, cpus }) }
    }

    fn release(&mut self, source: Source) -> Result<(), StepError> {
        let Some((vector, holders)) = self.old_vector(source)? else { return Ok(()) };
        let cpus = self.host.live_on(vector).intersection(&holders);
        match self.vectors.finish_move(source.lease, &cpus) {
            Ok(Drain::Done) => Ok(()),
            Ok(Drain::Waiting(_)) => Err(StepError::Undrained { from: source, vector, cpus }),
            Err(error) => Err(StepError::Unfinished(source, error)),
        }
    }

    fn old_vector(&self, source: Source) -> Result<Option<(Vector, CpuSet)>, StepError> {
        let placement = self.vectors.placement(source.lease).map_err(|error| StepError::Stale(source, error))?;
        Ok(placement.moving_from.map(|old| (old.vector, old.holders.to_set())))
    }
}

impl<H: SourceHost> Carrier for LeasedSources<'_, H> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        match *step {
            Step::Reserve(source, cpu) => self.reserve(source, cpu)?,
            Step::Program(source) => self.program(source)?,
            Step::Drain(source) => self.drain(source)?,
            Step::Release(source) => self.release(source)?,
            Step::TakeBack(source, cpu) => self.take_back(source, cpu)?,
            Step::Evacuate(cpu) => {
                let waiting = self.host.waiting_on(cpu);
                let evacuation = self.vectors.take_offline(cpu, &waiting)?;
                self.host.evacuated(evacuation);
            }
            _ => return Err(StepError::NotOurs),
        }
        Ok(Outcome::Done)
    }
}
