//! What a guest with physical IRQs shares with the hypervisor about them (`public/physdev.h`).

use core::array;

use crate::page::PAGE_SIZE;
use crate::sync::AtomicU64;

/// Tells what a physical IRQ needs (`PHYSDEVOP_irq_status_query`).
pub const PHYSDEVOP_IRQ_STATUS_QUERY: u32 = 5;
/// Acknowledges a physical IRQ and unmasks its port (`PHYSDEVOP_eoi`).
pub const PHYSDEVOP_EOI: u32 = 12;
/// Registers a [`PirqEoiPage`]; [`PHYSDEVOP_EOI`] unmasks the port by itself (`PHYSDEVOP_pirq_eoi_gmfn_v1`).
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V1: u32 = 17;
/// Registers a [`PirqEoiPage`]; the guest unmasks the port (`PHYSDEVOP_pirq_eoi_gmfn_v2`).
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V2: u32 = 28;

/// Gives a physical IRQ a number of the guest's (`PHYSDEVOP_map_pirq`).
pub const PHYSDEVOP_MAP_PIRQ: u32 = 13;
/// Takes that number back (`PHYSDEVOP_unmap_pirq`).
pub const PHYSDEVOP_UNMAP_PIRQ: u32 = 14;
/// Reserves a free number (`PHYSDEVOP_get_free_pirq`).
pub const PHYSDEVOP_GET_FREE_PIRQ: u32 = 23;

/// A physical IRQ that is a message (`MAP_PIRQ_TYPE_MSI`).
pub const MAP_PIRQ_TYPE_MSI: i32 = 0;
/// A physical IRQ that is a line of the platform (`MAP_PIRQ_TYPE_GSI`).
pub const MAP_PIRQ_TYPE_GSI: i32 = 1;
/// A physical IRQ of a kind that is not known (`MAP_PIRQ_TYPE_UNKNOWN`).
pub const MAP_PIRQ_TYPE_UNKNOWN: i32 = 2;
/// As [`MAP_PIRQ_TYPE_MSI`], with the PCI segment in bits 31:16 of [`MapPirq::bus`] (`MAP_PIRQ_TYPE_MSI_SEG`).
pub const MAP_PIRQ_TYPE_MSI_SEG: i32 = 3;
/// Several messages of one MSI capability: [`MapPirq::entry_nr`] says how many (`MAP_PIRQ_TYPE_MULTI_MSI`).
pub const MAP_PIRQ_TYPE_MULTI_MSI: i32 = 4;

/// The guest must end the physical IRQ by [`PHYSDEVOP_EOI`] (`XENIRQSTAT_needs_eoi`).
pub const IRQ_STATUS_NEEDS_EOI: u32 = 1;
/// Other domains share the line (`XENIRQSTAT_shared`).
pub const IRQ_STATUS_SHARED: u32 = 1 << 1;

/// The argument of [`PHYSDEVOP_IRQ_STATUS_QUERY`] (`struct physdev_irq_status_query`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct IrqStatusQuery {
    /// In: the physical IRQ.
    pub irq: u32,
    /// Out: [`IRQ_STATUS_NEEDS_EOI`], [`IRQ_STATUS_SHARED`].
    pub flags: u32,
}

/// The argument of [`PHYSDEVOP_EOI`] (`struct physdev_eoi`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct PirqEoi {
    /// In: the physical IRQ.
    pub irq: u32,
}

/// The argument of [`PHYSDEVOP_PIRQ_EOI_GMFN_V1`] and [`PHYSDEVOP_PIRQ_EOI_GMFN_V2`] (`struct physdev_pirq_eoi_gmfn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct PirqEoiGmfn {
    /// In: the frame of the [`PirqEoiPage`].
    pub gmfn: u64,
}

/// The argument of [`PHYSDEVOP_MAP_PIRQ`] (`struct physdev_map_pirq`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct MapPirq {
    /// In: whose.
    pub domid: u16,
    /// Padding.
    pub pad0: u16,
    /// In: `MAP_PIRQ_TYPE_*`.
    pub kind: i32,
    /// In: the line's number, or the message's IRQ; below 0 for any.
    pub index: i32,
    /// In or out: the guest's number; below 0 for any.
    pub pirq: i32,
    /// In: a message's PCI bus.
    pub bus: i32,
    /// In: a message's PCI device and function.
    pub devfn: i32,
    /// In: the entry of the MSI-X table. In and out: how many messages of an MSI capability.
    pub entry_nr: i32,
    /// Padding.
    pub pad1: u32,
    /// In: the address of the MSI-X table.
    pub table_base: u64,
}

/// The argument of [`PHYSDEVOP_UNMAP_PIRQ`] (`struct physdev_unmap_pirq`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct UnmapPirq {
    /// In: whose.
    pub domid: u16,
    /// Padding.
    pub pad: u16,
    /// In: the guest's number.
    pub pirq: i32,
}

/// The argument of [`PHYSDEVOP_GET_FREE_PIRQ`] (`struct physdev_get_free_pirq`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct GetFreePirq {
    /// In: [`MAP_PIRQ_TYPE_MSI`] or [`MAP_PIRQ_TYPE_GSI`].
    pub kind: i32,
    /// Out: the number.
    pub pirq: u32,
}

/// How many words a [`PirqEoiPage`] has.
pub const PIRQ_EOI_WORDS: usize = PAGE_SIZE / size_of::<u64>();

/// A bit for each physical IRQ: bit *i* mod 64 of word *i* / 64 says that *i* needs [`PHYSDEVOP_EOI`].
#[derive(Debug)]
#[repr(transparent)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct PirqEoiPage(pub [AtomicU64; PIRQ_EOI_WORDS]);

impl Default for PirqEoiPage {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::default()))
    }
}
