//! Who carries steps out: on real words, or on a model of them.

use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::FinishError;
use vector_allocator::HotplugError;
use vector_allocator::MoveError;
use vector_allocator::StaleLease;
use vector_allocator::TurnBackError;
use vector_allocator::Vector;

use super::step::Source;
use super::step::Step;
use super::step::Words;
use crate::delivery::avic::RouteError;
use crate::delivery::avic::TableError;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done; a look found nothing.
    Done,
    /// A look found something.
    Found,
}

/// Why a step could not be carried out; nothing of it has happened, and it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The carrier does not have the words it changes.
    #[error("that is no step of this vCPU's engine")]
    NotOurs,
    /// The word does not say what has been written to it: somebody else writes to it.
    #[error("the word has not kept what was written: {0:#x}")]
    NotKept(u64),
    /// The CPU cannot be named in the table.
    #[error("CPU {0} has no number in the table")]
    NoCpu(CpuId),
    /// The physical APIC-ID table refuses.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The remapping entry is not the vCPU's.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No vector is to be had where the source goes.
    #[error("no vector for {0}")]
    NoVector(Source, #[source] MoveError),
    /// The move cannot be finished.
    #[error("{0} is not to be finished")]
    Unfinished(Source, #[source] FinishError),
    /// The old vector is not to be had back.
    #[error("{0} cannot go back")]
    NoWayBack(Source, #[source] TurnBackError),
    /// The lease is no lease any more.
    #[error("{0} has no vector")]
    Stale(Source, #[source] StaleLease),
    /// The old vector still waits or is in service.
    #[error("vector {vector} of {from} still waits or is in service on CPU {cpus}")]
    Undrained {
        /// Whose.
        from: Source,
        /// Which.
        vector: Vector,
        /// Where.
        cpus: CpuSet,
    },
    /// The entry or message could not be written.
    #[error("{0} could not be programmed")]
    NotProgrammed(Source),
    /// The CPU cannot go.
    #[error("the CPU cannot go")]
    Hotplug(#[from] HotplugError),
}

/// Something that carries steps out, each as a whole or not at all, and checks that it is done.
pub trait Carrier {
    /// Carries out a step.
    ///
    /// # Errors
    /// [`StepError`].
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError>;
}

/// A carrier for each kind of word.
#[derive(Debug)]
pub struct Carriers<E, V, H> {
    /// The engine's words.
    pub engine: E,
    /// Vectors and devices.
    pub vectors: V,
    /// What is the host's.
    pub host: H,
}

impl<E: Carrier, V: Carrier, H: Carrier> Carrier for Carriers<E, V, H> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        match step.words() {
            Words::Engine => self.engine.carry_out(step),
            Words::Vectors => self.vectors.carry_out(step),
            Words::Host => self.host.carry_out(step),
        }
    }
}

/// The carrier of words that are not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Carrier for Nothing {
    fn carry_out(&mut self, _: &Step) -> Result<Outcome, StepError> {
        Err(StepError::NotOurs)
    }
}
