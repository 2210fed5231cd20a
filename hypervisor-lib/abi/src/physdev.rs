//! What a guest with physical IRQs shares with the hypervisor about them (`public/physdev.h`).

use core::array;

use crate::page::PAGE_SIZE;
use crate::sync::AtomicU64;

/// Acknowledges a physical IRQ and unmasks its port (`PHYSDEVOP_eoi`).
pub const PHYSDEVOP_EOI: u32 = 12;
/// Registers a [`PirqEoiPage`]; [`PHYSDEVOP_EOI`] unmasks the port by itself (`PHYSDEVOP_pirq_eoi_gmfn_v1`).
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V1: u32 = 17;
/// Registers a [`PirqEoiPage`]; the guest unmasks the port (`PHYSDEVOP_pirq_eoi_gmfn_v2`).
pub const PHYSDEVOP_PIRQ_EOI_GMFN_V2: u32 = 28;

/// How many words a [`PirqEoiPage`] has.
pub const PIRQ_EOI_WORDS: usize = PAGE_SIZE / size_of::<u64>();

/// A bit for each physical IRQ: bit *i* mod 64 of word *i* / 64 says that *i* needs [`PHYSDEVOP_EOI`].
#[derive(Debug)]
#[repr(transparent)]
#[cfg_attr(not(loom), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct PirqEoiPage(pub [AtomicU64; PIRQ_EOI_WORDS]);

impl Default for PirqEoiPage {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::default()))
    }
}
