//! What AVIC asks of the hypervisor around it.

use core::fmt;

use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::HostApicId;

/// The hypervisor around AVIC. Its method may be called from several threads at once, and must not call back.
pub trait Host {
    /// Carries out what an operation asks for, before it returns.
    fn act(&self, action: Action);
}

/// An entry of an interrupt-remapping table: which device's, and which of it. The edge gives the numbers their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IrteIndex {
    /// The device: bus, device and function.
    pub device: u16,
    /// The entry.
    pub index: u16,
}

impl fmt::Display for IrteIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, device, function) = (self.device >> 8, self.device >> 3 & 0x1f, self.device & 7);
        write!(f, "{bus:02x}:{device:02x}.{function}#{}", self.index)
    }
}

/// What AVIC asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this number to the doorbell register: the processor looks at the IRR of the guest it runs.
    RingDoorbell(HostApicId),
    /// See to it that the vCPU looks at its IRR: let it run if it sleeps, interrupt its processor if it runs without AVIC,
    /// nothing if it waits for a processor. It must be remembered if the vCPU is just about to sleep.
    Wake(ApicId),
    /// Store the lower half of a remapping entry, by one 64-bit store.
    StoreIrteLow(IrteIndex, GuestIrteLow),
    /// Replace a remapping entry, by one 128-bit store.
    ReplaceIrte(IrteIndex, Irte),
    /// Let the IOMMU forget what it has cached of the remapping entries stored so far, and return once it has done so: every
    /// interrupt it has treated by an old one is in the backing page by then.
    InvalidateIrtes,
}
