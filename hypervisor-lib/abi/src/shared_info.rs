//! The page every domain shares with the hypervisor (`struct shared_info`, `public/xen.h`), as 64-bit and 32-bit guests
//! lay it out.

use core::array;

use crate::sync::AtomicU32;
use crate::sync::AtomicU64;
use crate::vcpu_info::VcpuInfo32;
use crate::vcpu_info::VcpuInfo64;

/// How many vCPUs have their block in this page (`XEN_LEGACY_MAX_VCPUS`); the others must register one.
pub const LEGACY_MAX_VCPUS: usize = 32;
/// How many ports the 2-level ABI has in a 64-bit guest, port 0 included.
pub const TWO_LEVEL_CHANNELS_64: u32 = 64 * 64;
/// How many ports the 2-level ABI has in a 32-bit guest, port 0 included.
pub const TWO_LEVEL_CHANNELS_32: u32 = 32 * 32;

/// The shared page of a 64-bit guest.
#[derive(Debug)]
#[repr(C)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct SharedInfo64 {
    /// The first 32 vCPUs' blocks.
    pub vcpu_info: [VcpuInfo64; LEGACY_MAX_VCPUS],
    /// Bit *p* mod 64 of word *p* / 64: port *p* is pending (2-level ABI).
    pub evtchn_pending: [AtomicU64; 64],
    /// Likewise: port *p* is masked.
    pub evtchn_mask: [AtomicU64; 64],
    /// Odd while the hypervisor writes the wall clock.
    pub wc_version: AtomicU32,
    /// The wall clock at boot, low word of the seconds since 1970.
    pub wc_sec: AtomicU32,
    /// The wall clock at boot, nanoseconds.
    pub wc_nsec: AtomicU32,
    /// The wall clock at boot, high word of the seconds.
    pub wc_sec_hi: AtomicU32,
    /// A paravirtual guest's memory map (`struct arch_shared_info`).
    pub arch: [AtomicU64; 6],
}

/// The shared page of a 32-bit guest.
#[derive(Debug)]
#[repr(C)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct SharedInfo32 {
    /// The first 32 vCPUs' blocks.
    pub vcpu_info: [VcpuInfo32; LEGACY_MAX_VCPUS],
    /// Bit *p* mod 32 of word *p* / 32: port *p* is pending (2-level ABI).
    pub evtchn_pending: [AtomicU32; 32],
    /// Likewise: port *p* is masked.
    pub evtchn_mask: [AtomicU32; 32],
    /// Odd while the hypervisor writes the wall clock.
    pub wc_version: AtomicU32,
    /// The wall clock at boot, low word of the seconds since 1970.
    pub wc_sec: AtomicU32,
    /// The wall clock at boot, nanoseconds.
    pub wc_nsec: AtomicU32,
    /// A paravirtual guest's memory map (`struct arch_shared_info`).
    pub arch: [AtomicU32; 6],
    /// The wall clock at boot, high word of the seconds.
    pub wc_sec_hi: AtomicU32,
}

impl Default for SharedInfo64 {
    fn default() -> Self {
        Self {
            vcpu_info: Default::default(),
            evtchn_pending: array::from_fn(|_| AtomicU64::default()),
            evtchn_mask: array::from_fn(|_| AtomicU64::default()),
            wc_version: AtomicU32::default(),
            wc_sec: AtomicU32::default(),
            wc_nsec: AtomicU32::default(),
            wc_sec_hi: AtomicU32::default(),
            arch: Default::default(),
        }
    }
}

impl Default for SharedInfo32 {
    fn default() -> Self {
        Self {
            vcpu_info: Default::default(),
            evtchn_pending: array::from_fn(|_| AtomicU32::default()),
            evtchn_mask: array::from_fn(|_| AtomicU32::default()),
            wc_version: AtomicU32::default(),
            wc_sec: AtomicU32::default(),
            wc_nsec: AtomicU32::default(),
            arch: Default::default(),
            wc_sec_hi: AtomicU32::default(),
        }
    }
}
