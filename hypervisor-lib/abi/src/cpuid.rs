//! The hypervisor's CPUID leaves (`public/arch-x86/cpuid.h`): base + 0 to base + 5.
//!
//! The base is 0x4000_0000, or a multiple of 0x100 above it where another hypervisor's leaves come first. A reader must not
//! look at leaves above the one that base + 0 names in EAX.

use bitfield_struct::bitfield;

/// Where the search for the leaves begins.
pub const FIRST_LEAF: u32 = 0x4000_0000;
/// Where it ends, exclusive.
pub const LAST_BASE: u32 = 0x4001_0000;
/// How far possible bases are apart.
pub const BASE_STEP: u32 = 0x100;
/// The most leaves after the base there can be (`XEN_CPUID_MAX_NUM_LEAVES`).
pub const MAX_LEAVES: u32 = 5;
/// EBX, ECX and EDX of the base leaf: `XenVMMXenVMM`.
pub const SIGNATURE: [u32; 3] = [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e];

/// The offset of the leaf with the version: EAX = major << 16 | minor.
pub const VERSION: u32 = 1;
/// The offset of the leaf with the hypercall pages: EAX how many, EBX their MSR's number.
pub const HYPERCALL_PAGE: u32 = 2;
/// The offset of the leaf with the time-stamp counter's scale.
pub const TSC: u32 = 3;
/// The offset of the leaf with what an HVM guest may use ([`HvmFeatures`]).
pub const HVM_FEATURES: u32 = 4;
/// The offset of the leaf with the limits of a paravirtual guest.
pub const PV_LIMITS: u32 = 5;

/// The four registers CPUID returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuidLeaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// EAX of leaf base + 4 (`XEN_HVM_CPUID_*`).
#[bitfield(u32)]
#[derive(PartialEq, Eq, Hash)]
pub struct HvmFeatures {
    /// Accesses to the xAPIC page are virtualized.
    pub apic_access_virt: bool,
    /// Accesses to x2APIC registers are virtualized.
    pub x2apic_virt: bool,
    /// Foreign and granted pages get IOMMU mappings.
    pub iommu_mappings: bool,
    /// EBX holds the vCPU's number.
    pub vcpu_id_present: bool,
    /// ECX holds the domain's number.
    pub domid_present: bool,
    /// MSI addresses and redirection entries carry 15-bit destinations.
    pub ext_dest_id: bool,
    /// Per-vCPU upcall vectors work together with PIRQs.
    pub upcall_vector: bool,
    #[bits(25)]
    __: u32,
}
