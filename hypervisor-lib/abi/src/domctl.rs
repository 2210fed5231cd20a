//! How a toolstack passes a device's interrupt through to an HVM guest (`public/domctl.h`).

use bitfield_struct::bitfield;

/// Passes an interrupt through (`XEN_DOMCTL_bind_pt_irq`).
pub const DOMCTL_BIND_PT_IRQ: u32 = 38;
/// Ends that (`XEN_DOMCTL_unbind_pt_irq`).
pub const DOMCTL_UNBIND_PT_IRQ: u32 = 48;

/// The guest sees a pin of a PCI slot (`PT_IRQ_TYPE_PCI`).
pub const PT_IRQ_TYPE_PCI: u32 = 0;
/// The guest sees an ISA interrupt (`PT_IRQ_TYPE_ISA`); Xen on x86 does not carry it out.
pub const PT_IRQ_TYPE_ISA: u32 = 1;
/// The guest sees a message (`PT_IRQ_TYPE_MSI`).
pub const PT_IRQ_TYPE_MSI: u32 = 2;
/// The device sends a message, the guest sees a pin (`PT_IRQ_TYPE_MSI_TRANSLATE`).
pub const PT_IRQ_TYPE_MSI_TRANSLATE: u32 = 3;

/// The argument of [`DOMCTL_BIND_PT_IRQ`] and [`DOMCTL_UNBIND_PT_IRQ`] (`struct xen_domctl_bind_pt_irq`), its union laid
/// out flat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct BindPtIrq {
    /// In: the physical IRQ.
    pub machine_irq: u32,
    /// In: `PT_IRQ_TYPE_*`.
    pub irq_type: u32,
    /// In: a message's vector (`gvec`), a pin's bus, or an ISA interrupt's number.
    pub first: u8,
    /// In: a pin's slot (`device`).
    pub device: u8,
    /// In: the pin, 0 for INTA (`intx`).
    pub intx: u8,
    /// Padding.
    pub pad: u8,
    /// In: how a message is delivered ([`GuestMessageFlags`]).
    pub gflags: u32,
    /// In: the guest address of the MSI-X table; 0 for MSI.
    pub gtable: u64,
}

/// How a message is delivered in the guest (`XEN_DOMCTL_VMSI_X86_*`).
#[bitfield(u32)]
#[derive(PartialEq, Eq, Hash)]
pub struct GuestMessageFlags {
    /// The destination's APIC ID, or set of logical IDs.
    pub destination: u8,
    /// The redirection hint (RH).
    pub redirection_hint: bool,
    /// The destination is logical (DM).
    pub logical: bool,
    #[bits(2)]
    __: u8,
    /// The delivery mode (SDM vol. 3A, 11.11.2).
    #[bits(3)]
    pub delivery_mode: u8,
    /// The message is level-triggered.
    pub level: bool,
    /// The message is to be unmasked when it is bound.
    pub unmasked: bool,
    #[bits(15)]
    __: u16,
}
