//! Why an operation on physical IRQs failed, and the number its caller sees.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;

use crate::event::error::EventError;

/// An operation on physical IRQs failed; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PirqError {
    /// The domain cannot use this operation.
    #[error("{0} is not offered this operation")]
    NotOffered(DomainId),
    /// No domain has this number.
    #[error("there is no domain {0}")]
    NoDomain(DomainId),
    /// The caller neither is a control domain nor runs the domain's device model.
    #[error("{caller} has no power over {target}")]
    NotPermitted {
        /// Who asked.
        caller: DomainId,
        /// Over whom.
        target: DomainId,
    },
    /// A guest that takes its events by a line would wait for itself.
    #[error("{0} does not take its events by a vector")]
    NoVector(DomainId),
    /// The kind is none that exists, or that the caller may map.
    #[error("kind {0} of a physical IRQ cannot be mapped")]
    Kind(i32),
    /// There is no such line.
    #[error("there is no line {0}")]
    NoLine(i32),
    /// The number is out of the domain's range.
    #[error("{0} has no physical IRQ {1}")]
    NoPirq(DomainId, i32),
    /// No number is free.
    #[error("{0} has no free physical IRQ")]
    NoFree(DomainId),
    /// Nothing is behind the number, and the guest uses it for nothing.
    #[error("physical IRQ {1} of {0} is not mapped")]
    NotMapped(DomainId, u32),
    /// The IRQ is behind another number, or the number before another IRQ.
    #[error("irq {1} of {0} is mapped already")]
    MappedElsewhere(DomainId, u32),
    /// The IRQ was taken away, and whoever bound it has not let go yet.
    #[error("irq {1} of {0} is still bound")]
    StillBound(DomainId, u32),
    /// There is no such IRQ, or none is left.
    #[error("there is no irq for index {0}")]
    NoIrq(i32),
    /// The caller may not use the IRQ.
    #[error("{0} may not use irq {1}")]
    IrqDenied(DomainId, u32),
    /// No MSI capability has so many messages.
    #[error("{0} messages are out of range: 1 to 32")]
    Count(i32),
    /// Several messages need an IOMMU that remaps interrupts.
    #[error("several messages need interrupt remapping")]
    NoRemapping,
    /// The device has fewer messages.
    #[error("the device has {0} messages")]
    TooMany(u32),
    /// The number is one of several messages, which are unmapped by the first.
    #[error("physical IRQ {1} of {0} is not the first of its messages")]
    NotFirst(DomainId, u32),
    /// A message with vector 0 names no number that can be.
    #[error("message to {0:#x} names no physical IRQ")]
    Unaddressable(u64),
    /// The number is used for something else than messages of an emulated device.
    #[error("physical IRQ {1} of {0} is no emulated message")]
    NotAMessage(DomainId, u32),
    /// Interrupts are passed through to guests with interrupt controllers of their own.
    #[error("{0} is paravirtual")]
    Paravirtual(DomainId),
    /// No IOMMU confines the domain's devices.
    #[error("{0} has no iommu")]
    NoIommu(DomainId),
    /// The type is none that can be passed through.
    #[error("type {0} cannot be passed through")]
    Type(u32),
    /// The number is passed through as something else.
    #[error("physical IRQ {1} of {0} is passed through as something else")]
    OtherAssignment(DomainId, u32),
    /// There is no such slot or pin.
    #[error("there is no pin {intx} of slot {device}")]
    NoPin {
        /// The slot.
        device: u8,
        /// The pin.
        intx: u8,
    },
    /// The pin is not bound to the number.
    #[error("physical IRQ {1} of {0} is not passed through so")]
    NotAssigned(DomainId, u32),
    /// The host refused.
    #[error("the host refused irq {irq}")]
    Refused {
        /// Which.
        irq: u32,
        /// Why.
        #[source]
        reason: Errno,
    },
    /// Event channels refused.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl PirqError {
    /// The number the hypercall returns (negated).
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::NotOffered(_) => Errno::NotImplemented,
            Self::NoDomain(_) | Self::NoIommu(_) => Errno::NoDomain,
            Self::NotPermitted { .. } | Self::IrqDenied(..) => Errno::NotPermitted,
            Self::NoFree(_) => Errno::NoSpace,
            Self::MappedElsewhere(..) => Errno::Exists,
            Self::StillBound(..) | Self::NotFirst(..) | Self::OtherAssignment(..) => Errno::Busy,
            Self::Count(_) => Errno::OutOfDomain,
            Self::NoRemapping | Self::Type(_) => Errno::NotSupported,
            Self::TooMany(_) => Errno::TableFull,
            Self::Unaddressable(_) => Errno::OutOfRange,
            Self::Refused { reason, .. } => reason,
            Self::Event(error) => error.errno(),
            Self::NoVector(_)
            | Self::Kind(_)
            | Self::NoLine(_)
            | Self::NoPirq(..)
            | Self::NotMapped(..)
            | Self::NoIrq(_)
            | Self::NotAMessage(..)
            | Self::Paravirtual(_)
            | Self::NoPin { .. }
            | Self::NotAssigned(..) => Errno::Invalid,
        }
    }
}
