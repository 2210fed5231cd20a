//! How a toolstack asks about a domain, and passes a device's interrupt through to an HVM guest (`public/domctl.h`).
//!
//! The interface is not stable; as with [`sysctl`](crate::sysctl), the arguments are those fields that have stood unchanged
//! through the versions in [`VERSIONS`].

use bitfield_struct::bitfield;

use crate::sysctl::Bitmap;

/// The versions of the interface whose layouts these are, newest first: 0x17 came with Xen 4.19, 0x15 with 4.17.
pub const VERSIONS: [u32; 5] = [0x17, 0x16, 0x15, 0x14, 0x13];

/// Says where a vCPU may run (`XEN_DOMCTL_setvcpuaffinity`).
pub const DOMCTL_SETVCPUAFFINITY: u32 = 9;
/// Tells where a vCPU is and what it does (`XEN_DOMCTL_getvcpuinfo`).
pub const DOMCTL_GETVCPUINFO: u32 = 14;
/// Tells where a vCPU may run (`XEN_DOMCTL_getvcpuaffinity`).
pub const DOMCTL_GETVCPUAFFINITY: u32 = 25;

/// A request (`struct xen_domctl`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct Domctl {
    /// In: `DOMCTL_*`.
    pub cmd: u32,
    /// In: the interface's version.
    pub interface_version: u32,
    /// In and out: the domain.
    pub domain: u16,
    /// Padding.
    pub pad: [u16; 3],
    /// In and out: the argument.
    pub argument: [u8; crate::sysctl::ARGUMENT_SIZE],
}

/// The first fields of what [`SYSCTL_GETDOMAININFOLIST`](crate::sysctl::SYSCTL_GETDOMAININFOLIST) tells of a domain
/// (`struct xen_domctl_getdomaininfo`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct GetDomainInfo {
    /// Out: the domain.
    pub domain: u16,
    /// Padding.
    pub pad: u16,
    /// Out: `DOMINF_*`.
    pub flags: u32,
    /// Out: pages it has.
    pub tot_pages: u64,
    /// Out: pages it may have.
    pub max_pages: u64,
    /// Out: pages it has claimed and not got.
    pub outstanding_pages: u64,
    /// Out: pages it shares.
    pub shr_pages: u64,
    /// Out: pages that are paged out.
    pub paged_pages: u64,
    /// Out: the frame of its shared page.
    pub shared_info_frame: u64,
    /// Out: how long its vCPUs have run, ns.
    pub cpu_time: u64,
    /// Out: vCPUs that are online.
    pub nr_online_vcpus: u32,
    /// Out: the highest number of a vCPU; all ones if it has none.
    pub max_vcpu_id: u32,
}

/// The domain is being destroyed (`XEN_DOMINF_dying`).
pub const DOMINF_DYING: u32 = 1;
/// The domain is hardware-virtualized (`XEN_DOMINF_hvm_guest`).
pub const DOMINF_HVM_GUEST: u32 = 1 << 1;
/// The domain has shut down (`XEN_DOMINF_shutdown`).
pub const DOMINF_SHUTDOWN: u32 = 1 << 2;
/// The toolstack has paused the domain (`XEN_DOMINF_paused`).
pub const DOMINF_PAUSED: u32 = 1 << 3;
/// All its vCPUs are blocked (`XEN_DOMINF_blocked`).
pub const DOMINF_BLOCKED: u32 = 1 << 4;
/// One of its vCPUs runs (`XEN_DOMINF_running`).
pub const DOMINF_RUNNING: u32 = 1 << 5;
/// Where the reason of a shutdown begins (`XEN_DOMINF_shutdownshift`).
pub const DOMINF_SHUTDOWN_SHIFT: u32 = 16;
/// The reason of a shutdown that is a crash (`SHUTDOWN_crash`).
pub const SHUTDOWN_CRASH: u32 = 3;

/// The argument of [`DOMCTL_GETVCPUINFO`] (`struct xen_domctl_getvcpuinfo`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct GetVcpuInfo {
    /// In: the vCPU.
    pub vcpu: u32,
    /// Out: other than 0 if it is online.
    pub online: u8,
    /// Out: other than 0 if it waits for an event.
    pub blocked: u8,
    /// Out: other than 0 if it runs.
    pub running: u8,
    /// Padding.
    pub pad: u8,
    /// Out: how long it has run, ns.
    pub cpu_time: u64,
    /// Out: the CPU it runs on or ran last.
    pub cpu: u32,
    /// Padding.
    pub pad_end: u32,
}

/// The argument of [`DOMCTL_GETVCPUAFFINITY`] and [`DOMCTL_SETVCPUAFFINITY`] (`struct xen_domctl_vcpuaffinity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct VcpuAffinity {
    /// In: the vCPU.
    pub vcpu: u32,
    /// In: `VCPUAFFINITY_*`.
    pub flags: u32,
    /// In and out: where it may run.
    pub hard: Bitmap,
    /// In and out: where it had better run.
    pub soft: Bitmap,
}

/// Where the vCPU may run is meant (`XEN_VCPUAFFINITY_HARD`).
pub const VCPUAFFINITY_HARD: u32 = 1;
/// Where the vCPU had better run is meant (`XEN_VCPUAFFINITY_SOFT`).
pub const VCPUAFFINITY_SOFT: u32 = 1 << 1;

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
