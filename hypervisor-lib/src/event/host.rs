//! What event channels need of their hypervisor, and what they ask it to do.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use lock_api::RawMutex;

use super::domain::Domain;
use super::memory::GuestMemory;
use super::pirq::GuestMessage;
use super::slot::ConsumerId;
use super::virq::VirqHandlers;

/// The hypervisor around event channels: it finds domains, knows their state, and acts.
///
/// All methods may be called from several threads at once, and [`act`](Self::act) while locks of this core are held: it
/// must not call back.
pub trait Host: GuestMemory {
    /// The lock this core uses: parking_lot's on an operating system, a spin lock in a hypervisor.
    type Lock: RawMutex;

    /// The domain of a number. Whoever removes a domain waits until no call that may have found it is under way (RCU, a
    /// read lock around each call), and destroys it first.
    fn domain(&self, id: DomainId) -> Option<&Domain<Self::Lock>>;

    /// Who handles the global virtual IRQs.
    fn virq_handlers(&self) -> &VirqHandlers;

    /// Carries out what an operation asks for.
    fn act(&self, action: Action);

    /// Whether a domain's vCPUs are all stopped by its toolstack.
    fn is_paused(&self, domain: DomainId) -> bool;

    /// Whether the CPU has something more urgent to do than to go on with a long operation.
    fn is_preempted(&self) -> bool;

    /// Whether a vCPU's local APIC is software-enabled (SDM vol. 3A, 11.4.7.2).
    fn is_local_apic_enabled(&self, domain: DomainId, vcpu: VcpuId) -> bool;

    /// Whether a domain may use a physical IRQ.
    fn may_use_pirq(&self, domain: DomainId, pirq: u32) -> bool;

    /// Takes a physical IRQ for a domain that binds it, or that it is passed through to.
    ///
    /// # Errors
    /// Whatever the guest is to see, such as [`Errno::Busy`] for a line another domain does not share.
    fn bind_pirq(&self, domain: DomainId, pirq: u32, sharing: Sharing) -> Result<(), Errno>;
}

/// Whether other domains may take the same physical line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// The line is this domain's alone.
    Exclusive,
    /// Other domains may share it.
    Shared,
}

/// What an event-channel operation asks its hypervisor to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The vCPU has got its first pending event: wake it, or interrupt it where it runs, so that it sees its upcall.
    Kick {
        /// Whose.
        domain: DomainId,
        /// Which.
        vcpu: VcpuId,
    },
    /// Sets a vector in the vCPU's local APIC, edge-triggered.
    InjectVector {
        /// Whose.
        domain: DomainId,
        /// Which.
        vcpu: VcpuId,
        /// The vector.
        vector: u8,
    },
    /// Drives a line of the domain's: its callback, or one of a passed-through device.
    SetLine {
        /// Whose.
        domain: DomainId,
        /// Which line.
        line: CallbackLine,
        /// To which level.
        level: Level,
    },
    /// Ends the vCPU's poll: a port it waits for is pending.
    WakePoller {
        /// Whose.
        domain: DomainId,
        /// Which.
        vcpu: VcpuId,
    },
    /// A port whose events the hypervisor consumes has got one.
    NotifyConsumer {
        /// Who consumes it.
        consumer: ConsumerId,
        /// Whose port.
        domain: DomainId,
        /// On behalf of which vCPU.
        vcpu: VcpuId,
        /// Which port.
        port: Port,
    },
    /// Gives up a physical IRQ that [`Host::bind_pirq`] took.
    UnbindPirq {
        /// Whose.
        domain: DomainId,
        /// Which.
        pirq: u32,
    },
    /// Moves a physical IRQ to where the vCPU runs.
    MovePirq {
        /// Whose.
        domain: DomainId,
        /// Which.
        pirq: u32,
        /// To which vCPU.
        vcpu: VcpuId,
    },
    /// Acknowledges the interrupt behind a physical IRQ, so that it can happen again.
    AcknowledgePirq {
        /// Whose.
        domain: DomainId,
        /// Which.
        pirq: u32,
    },
    /// Masks the message behind a physical IRQ on the guest's behalf, or no longer; nothing where no message is behind it.
    MaskMessage {
        /// Whose.
        domain: DomainId,
        /// Which.
        pirq: u32,
        /// How.
        state: MaskState,
    },
    /// Hands a message to the local APICs it addresses.
    InjectMessage {
        /// Whose.
        domain: DomainId,
        /// The message.
        message: GuestMessage,
    },
}

/// Whether a message is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskState {
    /// It is.
    Masked,
    /// It is not.
    Open,
}

/// A line of an HVM guest's interrupt controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallbackLine {
    /// A line of the platform's interrupt controllers.
    Gsi(u8),
    /// A PCI slot's interrupt pin, 0 for INTA.
    PciIntx {
        /// The slot.
        device: u8,
        /// The pin.
        pin: u8,
    },
}

/// A line's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The line is not asserted.
    Low,
    /// The line is asserted.
    High,
}
