//! #VMEXIT: why the guest was left, as EXITCODE, EXITINFO1 and EXITINFO2 say it (APM vol. 2, 15.29.9 and appendix C).

use hypervisor_abi::avic::EXIT_INCOMPLETE_IPI;
use hypervisor_abi::avic::EXIT_NO_ACCELERATION;

use super::RegisterOffset;
use crate::vmx::ExitStyle;

/// Why the guest was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A physical interrupt, which waits in the processor's local APIC.
    Interrupt,
    /// HLT.
    Hlt,
    /// HLT, with no virtual interrupt to deliver.
    IdleHlt,
    /// An access to an MSR that the permission map asks for.
    Msr(Direction),
    /// A command that the processor could not finish.
    IncompleteIpi {
        /// The interrupt command register.
        icr: u64,
        /// What stopped it.
        failure: Failure,
        /// The table entry at which it stopped; 0 for failures that have none.
        index: u16,
    },
    /// An access to a register that the processor does not handle, or does not handle all of.
    NoAcceleration {
        /// Which way it goes.
        direction: Direction,
        /// The register.
        offset: RegisterOffset,
        /// The vector that ends, at a write of EOI; 0 otherwise.
        vector: u8,
        /// Whether the access has been done.
        style: ExitStyle,
    },
}

/// Which way an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the register.
    Read,
    /// To it.
    Write,
}

/// What stopped a command (APM vol. 2, table 15-27), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    /// It is not fixed, or level-triggered.
    InvalidType = 0,
    /// A target is on no processor.
    TargetNotRunning = 1,
    /// A target is in no table.
    InvalidTarget = 2,
    /// A target's entry names no page.
    InvalidBackingPage = 3,
    /// The vector is below 16.
    InvalidVector = 4,
}

impl Exit {
    /// EXITCODE (APM vol. 2, table C-1).
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Interrupt => 0x60,
            Self::Hlt => 0x78,
            Self::Msr(_) => 0x7c,
            Self::IdleHlt => 0xa6,
            Self::IncompleteIpi { .. } => EXIT_INCOMPLETE_IPI,
            Self::NoAcceleration { .. } => EXIT_NO_ACCELERATION,
        }
    }

    /// EXITINFO1.
    #[must_use]
    pub const fn info1(self) -> u64 {
        match self {
            Self::Msr(direction) => direction as u64,
            Self::IncompleteIpi { icr, .. } => icr,
            Self::NoAcceleration { direction, offset, .. } => (direction as u64) << 32 | offset.bytes() as u64,
            Self::Interrupt | Self::Hlt | Self::IdleHlt => 0,
        }
    }

    /// EXITINFO2.
    #[must_use]
    pub const fn info2(self) -> u64 {
        match self {
            Self::IncompleteIpi { failure, index, .. } => (failure as u64) << 32 | index as u64,
            Self::NoAcceleration { vector, .. } => vector as u64,
            Self::Interrupt | Self::Hlt | Self::IdleHlt | Self::Msr(_) => 0,
        }
    }

    /// Whether its cause is done or still to do: where RIP is.
    #[must_use]
    pub const fn style(self) -> ExitStyle {
        match self {
            Self::Hlt | Self::IdleHlt | Self::Msr(_) => ExitStyle::Fault,
            Self::Interrupt | Self::IncompleteIpi { .. } => ExitStyle::Trap,
            Self::NoAcceleration { style, .. } => style,
        }
    }
}
