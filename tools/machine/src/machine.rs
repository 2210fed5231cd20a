//! The machine: what happens when a device raises an interrupt.

use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::ConfigError;
use crate::Fact;
use crate::Host;
use crate::MachineConfig;
use crate::SourceIndex;
use crate::Time;
use crate::Timer;
use crate::consistency;

/// The machine.
#[derive(Debug)]
pub struct Machine {
    sources: usize,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// There is no such source.
    #[error("there is no source of index {0}")]
    NoSuchSource(u32),
}

/// The machine is in a state it must never be in: a fault of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (number {index})")]
pub struct Broken {
    /// What does not hold.
    pub what: &'static str,
    /// Of which CPU, vCPU or source.
    pub index: usize,
}

impl Machine {
    /// Builds a machine in which nothing has happened yet.
    ///
    /// # Errors
    /// [`ConfigError`] names what contradicts itself, and where.
    pub fn new(config: &MachineConfig) -> Result<Self, ConfigError> {
        consistency::check(config)?;
        Ok(Self { sources: config.sources.len() })
    }

    /// Starts the vCPUs' loads. Call it once, before anything else.
    pub fn start(&mut self, now: Time, host: &mut impl Host) {
        let _ = (now, host);
    }

    /// A device raises its interrupt: an edge sends a message, a level asserts its line, which falls when the owner's
    /// handler has run.
    pub fn raise(&mut self, now: Time, source: SourceIndex, host: &mut impl Host) {
        if (source.0 as usize) < self.sources {
            host.observe(now, Fact::Raised { source });
        }
    }

    /// A timer that the machine had [`schedule`](Host::schedule)d is due.
    pub fn expire(&mut self, now: Time, timer: Timer, host: &mut impl Host) {
        let _ = (now, timer, host);
    }

    /// Carries out one move of a plan.
    ///
    /// # Errors
    /// [`MoveError`] says what stands against it; nothing has changed then.
    pub fn apply_move(&mut self, now: Time, relocation: Relocation, host: &mut impl Host) -> Result<(), MoveError> {
        let _ = (now, host);
        Err(MoveError::NoSuchSource(relocation.source.0))
    }

    /// Checks every invariant; for tests and debugging.
    ///
    /// # Errors
    /// [`Broken`] names the first that does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        Ok(())
    }
}
