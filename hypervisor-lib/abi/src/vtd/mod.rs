//! Intel's IOMMU where it delivers interrupts: entries of the interrupt-remapping table and how its cache of them is flushed
//! (Intel Virtualization Technology for Directed I/O, 5.1, 5.2, 6.5.2, chapters 9 and 10).

mod invalidation;
mod irte;

pub use invalidation::EntryInvalidation;
pub use invalidation::InvalidationWait;
pub use irte::DescriptorAddress;
pub use irte::IRTE_HIGH_DEFINED;
pub use irte::Irte;
pub use irte::IrteHigh;
pub use irte::NoDescriptorAddress;
pub use irte::POSTED_LOW_DEFINED;
pub use irte::PostedIrteLow;
pub use irte::REMAPPED_HIGH_DEFINED;
pub use irte::REMAPPED_LOW_DEFINED;
pub use irte::RemappedIrteLow;

use bitfield_struct::bitfield;

/// The capability register, as far as interrupts go.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Capabilities {
    #[bits(7)]
    __: u8,
    /// CM: entries that are not present may be cached, too, so that every change is followed by an invalidation.
    pub caches_absent: bool,
    #[bits(51)]
    __: u64,
    /// PI: the IOMMU posts.
    pub posts: bool,
    #[bits(4)]
    __: u8,
}

/// The extended capability register, as far as interrupts go.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ExtendedCapabilities {
    #[bits(1)]
    __: u8,
    /// QI: invalidations are queued.
    pub queues_invalidations: bool,
    #[bits(1)]
    __: u8,
    /// IR: the IOMMU remaps interrupts.
    pub remaps: bool,
    /// EIM: destinations of 32 bits.
    pub extended_interrupt_mode: bool,
    #[bits(59)]
    __: u64,
}

#[cfg(test)]
mod tests {
    use super::Capabilities;
    use super::ExtendedCapabilities;

    #[test]
    fn capabilities_lie_where_the_specification_draws_them() {
        assert_eq!(u64::from(Capabilities::new().with_posts(true)), 1 << 59);
        assert_eq!(u64::from(Capabilities::new().with_caches_absent(true)), 1 << 7);
        assert_eq!(u64::from(ExtendedCapabilities::new().with_queues_invalidations(true)), 1 << 1);
        assert_eq!(u64::from(ExtendedCapabilities::new().with_remaps(true)), 1 << 3);
        assert_eq!(u64::from(ExtendedCapabilities::new().with_extended_interrupt_mode(true)), 1 << 4);
    }
}
