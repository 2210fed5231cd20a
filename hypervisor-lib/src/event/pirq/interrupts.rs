//! What physical IRQs need of the hypervisor beside [`Host`]: its IRQs, who may use them, and the messages of devices.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;

use crate::event::host::Host;

/// The hypervisor's own IRQs.
///
/// IRQs from 0 to [`lines`](Self::lines) − 1 are the lines of the platform's interrupt controllers, those from there to
/// [`irqs`](Self::irqs) − 1 messages. All methods may be called while a domain's event lock is held: they must not call
/// back.
pub trait Interrupts: Host {
    /// How many lines there are (`nr_irqs_gsi`).
    fn lines(&self) -> u32;

    /// One more than the highest IRQ there can be (`nr_irqs`), at most 2³⁰.
    fn irqs(&self) -> u32;

    /// Whether a guest that is not paravirtual may use physical IRQs (`hvm_pirq`; what
    /// [`Offer::has_pirqs`](crate::offer::Offer::has_pirqs) says).
    fn offers_pirqs(&self, domain: DomainId) -> bool;

    /// Whether an IOMMU confines the domain's devices.
    fn has_iommu(&self, domain: DomainId) -> bool;

    /// Whether the IOMMU remaps interrupts.
    fn remaps_interrupts(&self) -> bool;

    /// Whether a domain has been given an IRQ.
    fn may_use_irq(&self, domain: DomainId, irq: u32) -> bool;

    /// Gives a domain an IRQ, or takes it away.
    ///
    /// # Errors
    /// Whatever the caller is to see, such as [`Errno::NoMemory`].
    fn permit_irq(&self, domain: DomainId, irq: u32, permission: Permission) -> Result<(), Errno>;

    /// An IRQ for a message, which `user` may use; `None` if there is none left.
    fn create_irq(&self, user: DomainId) -> Option<u32>;

    /// Gives back an IRQ that [`create_irq`](Self::create_irq) made.
    fn destroy_irq(&self, irq: u32);

    /// Switches on a device's messages.
    ///
    /// # Errors
    /// [`MessageError`].
    fn enable_messages(&self, owner: DomainId, source: MessageSource, count: u32) -> Result<(), MessageError>;

    /// Gives a message of a device an IRQ, which gets a host vector and is masked. `index` counts the messages of one
    /// [`enable_messages`](Self::enable_messages).
    ///
    /// # Errors
    /// Whatever the caller is to see, such as [`Errno::NoSpace`] for want of a vector, or [`Errno::Busy`] for an IRQ that
    /// something else uses.
    fn program_message(&self, irq: u32, source: MessageSource, index: u32) -> Result<(), Errno>;

    /// Switches a device's messages off.
    fn disable_messages(&self, source: MessageSource);

    /// Whether more than one domain is bound to an IRQ.
    fn is_shared(&self, irq: u32) -> bool;

    /// Whether a line of a guest's own interrupt controllers is asserted.
    fn is_line_asserted(&self, domain: DomainId, line: u8) -> bool;
}

/// Whether a domain may use something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// It may.
    Granted,
    /// It may not.
    Revoked,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageSource {
    /// The PCI segment.
    pub segment: u16,
    /// The bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// Which entry of the MSI-X table; 0 for MSI.
    pub entry: u32,
    /// Where the caller says the MSI-X table is; 0 for MSI. What is to be believed of that,
    /// [`MsixTable`](crate::msix::MsixTable) decides.
    pub table_base: u64,
}

/// A device's messages cannot be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageError {
    /// It has only so many.
    TooMany(u32),
    /// Another reason, such as [`Errno::NoDevice`] for a device that is not the domain's.
    Refused(Errno),
}
