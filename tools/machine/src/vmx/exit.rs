//! VM exits: why the guest was left, as the exit-reason and exit-qualification fields say it
//! (SDM vol. 3C, 28.2.1 and appendix C).

use core::fmt;

use super::PageOffset;
use super::VirtualVector;

/// Why a VM exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// An external interrupt; its vector if the exit acknowledged it.
    ExternalInterrupt(Option<u8>),
    /// The guest could take an interrupt, and interrupt-window exiting asked to hear of it.
    InterruptWindow,
    /// HLT, under HLT exiting.
    Hlt,
    /// RDMSR, asked for by the MSR bitmap.
    ReadMsr,
    /// WRMSR, asked for by the MSR bitmap.
    WriteMsr,
    /// The guest's task priority fell below the threshold.
    TprBelowThreshold,
    /// An access to the APIC-access page that is not virtualized; it has not been done.
    ApicAccess {
        /// Where in the page.
        offset: PageOffset,
        /// What kind of access.
        access: PageAccess,
    },
    /// An EOI was virtualized for a vector of the EOI-exit bitmap.
    VirtualizedEoi(VirtualVector),
    /// A write to the virtual-APIC page was done that needs more than the processor does.
    ApicWrite(PageOffset),
}

/// How the APIC-access page was reached (SDM vol. 3C, table 28-6), by a linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageAccess {
    /// A data read by an instruction.
    Read,
    /// A data write by an instruction.
    Write,
    /// An instruction fetch.
    Fetch,
    /// A read or write while an event was delivered.
    EventDelivery,
}

/// Whether what caused an exit has happened when the hypervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStyle {
    /// Not: RIP is at the instruction, which has done nothing yet.
    Fault,
    /// It has: RIP is behind the instruction, or at the next one.
    Trap,
}

impl Exit {
    /// The basic exit reason (SDM vol. 3C, table C-1).
    #[must_use]
    pub const fn reason(self) -> u16 {
        match self {
            Self::ExternalInterrupt(_) => 1,
            Self::InterruptWindow => 7,
            Self::Hlt => 12,
            Self::ReadMsr => 31,
            Self::WriteMsr => 32,
            Self::TprBelowThreshold => 43,
            Self::ApicAccess { .. } => 44,
            Self::VirtualizedEoi(_) => 45,
            Self::ApicWrite(_) => 56,
        }
    }

    /// The exit qualification (SDM vol. 3C, 28.2.1).
    #[must_use]
    pub const fn qualification(self) -> u64 {
        match self {
            Self::ApicAccess { offset, access } => (access as u64) << 12 | offset.bytes() as u64,
            Self::VirtualizedEoi(vector) => vector.0 as u64,
            Self::ApicWrite(offset) => offset.bytes() as u64,
            _ => 0,
        }
    }

    /// Whether its cause is done or still to do.
    #[must_use]
    pub const fn style(self) -> ExitStyle {
        match self {
            Self::Hlt | Self::ReadMsr | Self::WriteMsr | Self::ApicAccess { .. } => ExitStyle::Fault,
            _ => ExitStyle::Trap,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExternalInterrupt(None) => write!(f, "external interrupt, not acknowledged"),
            Self::ExternalInterrupt(Some(vector)) => write!(f, "external interrupt {vector:02X}"),
            Self::InterruptWindow => write!(f, "interrupt window"),
            Self::Hlt => write!(f, "HLT"),
            Self::ReadMsr => write!(f, "RDMSR"),
            Self::WriteMsr => write!(f, "WRMSR"),
            Self::TprBelowThreshold => write!(f, "TPR below threshold"),
            Self::ApicAccess { offset, access } => write!(f, "APIC access: {access} at {offset}"),
            Self::VirtualizedEoi(vector) => write!(f, "virtualized EOI of {vector}"),
            Self::ApicWrite(offset) => write!(f, "APIC write at {offset}"),
        }
    }
}

impl fmt::Display for PageAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Fetch => "fetch",
            Self::EventDelivery => "event delivery",
        })
    }
}
