//! What the hypervisor tells one vCPU (`struct vcpu_info`, `public/xen.h`): whether events are pending, and the time.
//!
//! 64 bytes: inside [`SharedInfo64`](crate::SharedInfo64) for the first 32 vCPUs, or where
//! `VCPUOP_register_vcpu_info` put it.

use crate::sync::AtomicU8;
use crate::sync::AtomicU32;
use crate::sync::AtomicU64;

/// The number of the operation that moves a vCPU's [`VcpuInfo64`] to a page of its own (`VCPUOP_register_vcpu_info`).
pub const VCPUOP_REGISTER_VCPU_INFO: u32 = 10;

/// The argument of [`VCPUOP_REGISTER_VCPU_INFO`] (`struct vcpu_register_vcpu_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct RegisterVcpuInfo {
    /// The guest frame.
    pub gfn: u64,
    /// The offset within it, in bytes.
    pub offset: u32,
    /// Not used.
    pub reserved: u32,
}

/// A vCPU's view of the time (`struct vcpu_time_info`). Valid if `version` is even and the same before and after.
#[derive(Debug, Default)]
#[repr(C)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct VcpuTimeInfo {
    /// Odd while the hypervisor writes.
    pub version: AtomicU32,
    /// Not used.
    pub pad0: AtomicU32,
    /// The time-stamp counter when the block was written, in cycles.
    pub tsc_timestamp: AtomicU64,
    /// The time since boot at that moment, in ns.
    pub system_time: AtomicU64,
    /// Multiplies shifted cycles; the product's upper 32 bits are ns.
    pub tsc_to_system_mul: AtomicU32,
    /// How far cycles are shifted left before (a signed number; negative shifts right).
    pub tsc_shift: AtomicU8,
    /// `XEN_PVCLOCK_*`: bit 0, the counter is the same on all CPUs.
    pub flags: AtomicU8,
    /// Not used.
    pub pad1: [AtomicU8; 2],
}

/// A vCPU's block in a 64-bit guest's layout.
#[derive(Debug, Default)]
#[repr(C)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct VcpuInfo64 {
    /// Not 0: an event is pending for this vCPU. The hypervisor sets it, the guest clears it.
    pub evtchn_upcall_pending: AtomicU8,
    /// Not 0: a paravirtual guest wants no upcall now.
    pub evtchn_upcall_mask: AtomicU8,
    /// Not used.
    pub pad: [AtomicU8; 6],
    /// Bit *w*: word *w* of the pending bitmap has got a new bit (2-level ABI).
    pub evtchn_pending_sel: AtomicU64,
    /// The faulting address and a word not used (`struct arch_vcpu_info`).
    pub arch: [AtomicU64; 2],
    /// The time.
    pub time: VcpuTimeInfo,
}

/// A vCPU's block in a 32-bit guest's layout.
#[derive(Debug, Default)]
#[repr(C)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct VcpuInfo32 {
    /// Not 0: an event is pending for this vCPU. The hypervisor sets it, the guest clears it.
    pub evtchn_upcall_pending: AtomicU8,
    /// Not 0: a paravirtual guest wants no upcall now.
    pub evtchn_upcall_mask: AtomicU8,
    /// Not used.
    pub pad: [AtomicU8; 2],
    /// Bit *w*: word *w* of the pending bitmap has got a new bit (2-level ABI).
    pub evtchn_pending_sel: AtomicU32,
    /// The faulting address and words not used (`struct arch_vcpu_info`).
    pub arch: [AtomicU32; 6],
    /// The time.
    pub time: VcpuTimeInfo,
}
