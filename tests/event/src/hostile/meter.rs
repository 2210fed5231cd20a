//! How much the hypervisor does for one operation.

use super::company::HostileWorld;
use crate::counted_lock::locks_taken;

/// What an operation may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It concerns a port or two: a send, an unmask, a close.
    OnePort,
    /// It may look at every port there is: a reset, a search for a free one.
    AllPorts,
}

/// Handles traded, locks taken and actions asked for by an operation on one port. An honest guest's takes a third of it.
const STEPS: u64 = 48;
/// The same for each port, for an operation that may look at all of them.
const STEPS_EACH_PORT: u64 = 16;

/// Measures one operation at a time.
#[derive(Clone, Copy, Debug)]
pub struct Meter<'w> {
    world: &'w HostileWorld,
    ports: u64,
}

impl<'w> Meter<'w> {
    /// A meter for domains with so many ports.
    #[must_use]
    pub const fn new(world: &'w HostileWorld, ports: u64) -> Self {
        Self { world, ports }
    }

    fn steps(&self) -> u64 {
        self.world.memory.trades() + locks_taken() + u64::from(self.world.actions())
    }

    /// Runs an operation and checks what it cost, and the invariants after it.
    ///
    /// # Panics
    /// It cost more than its extent allows, or an invariant does not hold.
    pub fn run<R>(&self, extent: Extent, operation: impl FnOnce() -> R) -> R {
        let before = self.steps();
        let result = operation();
        let spent = self.steps() - before;
        let allowed = match extent {
            Extent::OnePort => STEPS,
            Extent::AllPorts => STEPS + STEPS_EACH_PORT * self.ports,
        };
        assert!(spent <= allowed, "an operation took {spent} steps, more than {allowed}");
        self.world.check();
        result
    }
}
