//! Why an event-channel operation failed: what and where, and the number the guest sees.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::IllegalFifoPriority;
use hypervisor_abi::virq::IllegalVirq;

use super::memory::PinError;

/// An event-channel operation failed; nothing has changed unless the variant says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// No domain has this number.
    #[error("there is no domain {0}")]
    NoDomain(DomainId),
    /// The caller has no power over the domain.
    #[error("{caller} has no power over {target}")]
    NotPermitted {
        /// Who asked.
        caller: DomainId,
        /// Over whom.
        target: DomainId,
    },
    /// The domain is being destroyed.
    #[error("{0} is being destroyed")]
    Dying(DomainId),
    /// The domain has no such vCPU.
    #[error("{0} has no {1}")]
    NoVcpu(DomainId, VcpuId),
    /// The number is beyond the ports the domain has used so far.
    #[error("{0} has no {1}")]
    NoPort(DomainId, Port),
    /// All ports up to the domain's limit are taken.
    #[error("{domain} has no free port below {limit}")]
    NoFreePort {
        /// Whose ports.
        domain: DomainId,
        /// One more than the highest port it may use.
        limit: u32,
    },
    /// The port's state does not allow the operation.
    #[error("{1} of {0} is not in a state for this")]
    WrongState(DomainId, Port),
    /// The hypervisor itself consumes the port's events.
    #[error("{1} of {0} belongs to the hypervisor")]
    XenConsumer(DomainId, Port),
    /// As [`XenConsumer`](Self::XenConsumer), for an operation that only looks.
    #[error("{1} of {0} belongs to the hypervisor and is hidden")]
    Hidden(DomainId, Port),
    /// The remote port is not offered to the caller.
    #[error("{1} of {0} is not offered to the caller")]
    NotOffered(DomainId, Port),
    /// The virtual IRQ's number is out of range.
    #[error(transparent)]
    IllegalVirq(#[from] IllegalVirq),
    /// The virtual IRQ is not per vCPU; it is bound on vCPU 0 only.
    #[error("{0} is bound on vCPU 0 only")]
    NotPerVcpu(Virq),
    /// The virtual IRQ is not global, so no single domain handles it.
    #[error("{0} is not global")]
    NotGlobal(Virq),
    /// Another domain handles this global virtual IRQ.
    #[error("{0} is handled by another domain")]
    HandledElsewhere(Virq),
    /// The virtual IRQ is bound already.
    #[error("{0} is bound already")]
    VirqBound(Virq),
    /// The physical IRQ's number is out of the domain's range.
    #[error("{0} has no physical IRQ {1}")]
    NoPirq(DomainId, u32),
    /// The domain may not use the physical IRQ.
    #[error("{0} may not use physical IRQ {1}")]
    PirqDenied(DomainId, u32),
    /// The physical IRQ is bound already.
    #[error("physical IRQ {1} of {0} is bound already")]
    PirqBound(DomainId, u32),
    /// The physical IRQ is neither bound, mapped nor used.
    #[error("{0} does not use physical IRQ {1}")]
    PirqUnknown(DomainId, u32),
    /// The domain has registered a page of EOI bits already.
    #[error("{0} has registered a page of EOI bits already")]
    PirqPageTwice(DomainId),
    /// The host refused to bind the physical IRQ.
    #[error("the host refused physical IRQ {pirq}")]
    PirqRefused {
        /// Which.
        pirq: u32,
        /// Why.
        #[source]
        reason: Errno,
    },
    /// Another domain is reset only while it is paused.
    #[error("{0} is not paused")]
    NotPaused(DomainId),
    /// A reset is in progress, or none is that could be carried on.
    #[error("a reset of {0} is in progress, or none to carry on")]
    ResetBusy(DomainId),
    /// Ports were opened while the reset closed others; the ports it met are closed.
    #[error("{0} has ports open that its reset did not see")]
    StillOpen(DomainId),
    /// The operation was broken off so that the CPU can do other work; carry it on.
    #[error("broken off, to be carried on")]
    BrokenOff,
    /// An offset does not keep the structure inside its frame, or is not aligned.
    #[error("offset {0:#x} is not aligned or leaves the frame")]
    BadOffset(u32),
    /// The vCPU has a page of this kind already.
    #[error("{1} of {0} has one already")]
    Twice(DomainId, VcpuId),
    /// A guest frame could not be pinned.
    #[error("the frame cannot be used")]
    Pin(#[from] PinError),
    /// The domain does not use the FIFO ABI.
    #[error("{0} does not use FIFO event channels")]
    NotFifo(DomainId),
    /// The domain has all the pages of event words there can be.
    #[error("{0} has all its pages of event words")]
    ArrayFull(DomainId),
    /// The 2-level ABI has no priorities.
    #[error("{0} uses 2-level event channels, which have no priorities")]
    NoPriorities(DomainId),
    /// The port is not open, so it has no priority.
    #[error("{1} of {0} is not usable")]
    Unusable(DomainId, Port),
    /// The priority is out of range.
    #[error("priority {0} is out of range: 0 (highest) to 15 (lowest)")]
    IllegalPriority(u32),
    /// Too many ports to poll at once.
    #[error("{0} ports are too many to poll at once")]
    TooManyPorts(usize),
    /// A port that is polled is not usable.
    #[error("{1} of {0} cannot be polled")]
    NotPollable(DomainId, Port),
    /// The vector is none an interrupt may have.
    #[error("vector {0:#x} is below 0x10")]
    IllegalVector(u8),
}

impl EventError {
    /// The number the hypercall returns (negated).
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::NoDomain(_) => Errno::NoDomain,
            Self::NotPermitted { .. } | Self::PirqDenied(..) => Errno::NotPermitted,
            Self::NoVcpu(..) => Errno::NoEntry,
            Self::NoFreePort { .. } | Self::ArrayFull(_) => Errno::NoSpace,
            Self::HandledElsewhere(_) | Self::ResetBusy(_) | Self::PirqPageTwice(_) => Errno::Busy,
            Self::VirqBound(_) | Self::PirqBound(..) => Errno::Exists,
            Self::PirqRefused { reason, .. } => reason,
            Self::StillOpen(_) => Errno::TryAgain,
            Self::BrokenOff => Errno::Restart,
            Self::Pin(error) => error.errno(),
            Self::NotFifo(_) => Errno::NotSupported,
            Self::NoPriorities(_) => Errno::NotImplemented,
            Self::Unusable(..) | Self::Hidden(..) => Errno::AccessDenied,
            Self::Dying(_)
            | Self::NoPort(..)
            | Self::WrongState(..)
            | Self::XenConsumer(..)
            | Self::NotOffered(..)
            | Self::IllegalVirq(_)
            | Self::NotPerVcpu(_)
            | Self::NotGlobal(_)
            | Self::NoPirq(..)
            | Self::PirqUnknown(..)
            | Self::NotPaused(_)
            | Self::BadOffset(_)
            | Self::Twice(..)
            | Self::IllegalPriority(_)
            | Self::TooManyPorts(_)
            | Self::NotPollable(..)
            | Self::IllegalVector(_) => Errno::Invalid,
        }
    }
}

impl From<IllegalFifoPriority> for EventError {
    fn from(error: IllegalFifoPriority) -> Self {
        Self::IllegalPriority(u32::from(error.0))
    }
}
