//! What can be done on stock Xen to the vector of an interrupt, as data.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::CpuId;
use crate::CpuSet;
use crate::DomainId;
use crate::SourceId;
use crate::VectorSet;

/// What a toolstack can take hold of to move interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lever {
    /// An interrupt of dom0's, by binding it to one of dom0's vCPUs (`/proc/irq/N/smp_affinity`).
    Interrupt(SourceId),
    /// A vCPU, by its hard affinity (`xl vcpu-pin`): Xen sends what it handles after it.
    Vcpu {
        /// Its domain.
        domain: DomainId,
        /// Its number.
        vcpu: u32,
    },
    /// A passed-through device, by taking it from its guest and giving it back (`xl pci-detach`, `xl pci-attach`). Its
    /// interrupts are set up anew, and its traffic is interrupted.
    Device {
        /// One of its interrupts.
        source: SourceId,
    },
}

/// A lever and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mover {
    /// What is taken hold of.
    pub lever: Lever,
    /// The sources that move with it and draw when they do.
    pub sources: Vec<SourceId>,
    /// The sources that follow it and do not fire: Xen moves them with their next interrupt, so they stay where they are.
    pub silent: Vec<SourceId>,
    /// The CPUs it may be moved to.
    pub cpus: CpuSet,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Keep it to these CPUs from now on.
    Keep {
        /// What is kept.
        lever: Lever,
        /// The CPUs.
        cpus: CpuSet,
    },
    /// Send it to a CPU. With physical destinations each of its sources draws a vector there, when it fires next.
    Send {
        /// What is sent.
        lever: Lever,
        /// The CPU.
        to: CpuId,
    },
    /// Take the device from its guest and give it back: each of its sources draws a vector.
    Reattach {
        /// The device.
        lever: Lever,
    },
}

/// A deed with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What to do.
    pub deed: Deed,
    /// Why.
    pub why: String,
    /// The vectors its sources will get, whichever of them fires first. Empty for a deed that draws none.
    pub expected: VectorSet,
}

impl Mover {
    /// Whether a source moves with it.
    #[must_use]
    pub fn moves(&self, source: SourceId) -> bool {
        self.sources.contains(&source)
    }

    /// Whether a source can be kept to CPUs by it.
    #[must_use]
    pub fn can_keep(&self, source: SourceId, cpus: &CpuSet) -> bool {
        let follows = self.moves(source) || self.silent.contains(&source);
        follows && !matches!(self.lever, Lever::Device { .. }) && cpus.is_subset(&self.cpus)
    }

    /// All that hangs on it; those that fire first.
    pub(super) fn followers(&self) -> impl Iterator<Item = SourceId> + '_ {
        self.sources.iter().chain(&self.silent).copied()
    }
}

impl Deed {
    /// What it takes hold of.
    #[must_use]
    pub const fn lever(&self) -> Lever {
        match self {
            Self::Keep { lever, .. } | Self::Send { lever, .. } | Self::Reattach { lever } => *lever,
        }
    }
}

impl fmt::Display for Lever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupt(source) => write!(f, "IRQ {}", source.0),
            Self::Vcpu { domain, vcpu } => write!(f, "{domain}v{vcpu}"),
            Self::Device { source } => write!(f, "the device of IRQ {}", source.0),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { lever, cpus } => write!(f, "keep {lever} to pCPUs {cpus}"),
            Self::Send { lever, to } => write!(f, "send {lever} to pCPU {to}"),
            Self::Reattach { lever } => write!(f, "detach {lever} and attach it again"),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.deed, self.why)?;
        match (self.expected.len(), self.expected.lowest()) {
            (0, _) | (_, None) => Ok(()),
            (1, Some(vector)) => write!(f, "; it draws {vector}"),
            (count, _) => write!(f, "; it draws one of {count} vectors"),
        }
    }
}
