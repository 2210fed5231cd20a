//! The exits that concern a vCPU's local APIC, as far as the instruction need not be decoded for them.

use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::NoAcceleration;

use crate::delivery::Engine;
use crate::delivery::avic::Broken;
use crate::delivery::avic::Unexpected;

/// Why the guest was left. Accesses to the page and to MSRs that exit before anything is done are not among them: emulate
/// those by [`read_mmio`](super::VcpuApic::read_mmio) and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest could take an interrupt (Intel: reason 7; AMD: exit 64h).
    InterruptWindow,
    /// The guest could take a non-maskable interrupt (Intel: reason 8; AMD: an IRET, exit 74h).
    NmiWindow,
    /// The guest's task priority has fallen below the threshold (Intel: reason 43).
    TprBelowThreshold,
    /// An interrupt has ended whose end exits (Intel: reason 45): its vector.
    EndOfInterrupt(u8),
    /// A register has been written in the page (Intel: reason 56): where, in bytes.
    ApicWrite(u16),
    /// A command was not finished (AMD: exit 401h).
    IncompleteIpi(IncompleteIpi),
    /// An access that the processor does not handle (AMD: exit 402h).
    NoAcceleration(NoAcceleration),
}

/// An exit that an intact processor with intact tables does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExitError {
    /// The vCPU's engine has no such exit.
    #[error("{exit:?} is no exit of {engine}")]
    Foreign {
        /// The exit.
        exit: Exit,
        /// The engine.
        engine: Engine,
    },
    /// The processor should have handled the access.
    #[error(transparent)]
    Access(#[from] Unexpected),
    /// The tables of AVIC are not as they should be.
    #[error(transparent)]
    Tables(#[from] Broken),
}
