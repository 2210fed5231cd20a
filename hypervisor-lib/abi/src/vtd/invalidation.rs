//! Requests of the invalidation queue that a change of the remapping table needs.

use bitfield_struct::bitfield;

/// The lower half of a request to forget entries; the upper is zero.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct EntryInvalidation {
    /// 4.
    #[bits(4, default = 4)]
    pub kind: u8,
    /// G: only the entries named; clear, all of them.
    pub is_selective: bool,
    #[bits(22)]
    __: u32,
    /// IM: how many of the index's lowest bits do not count.
    #[bits(5)]
    pub index_mask: u8,
    /// IIDX: which entry.
    pub index: u16,
    #[bits(16)]
    __: u16,
}

/// The lower half of a request to say when those before it are done. The upper half is the address, a multiple of
/// four, that the status is written to.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct InvalidationWait {
    /// 5.
    #[bits(4, default = 5)]
    pub kind: u8,
    /// IF: interrupt.
    pub interrupts: bool,
    /// SW: write the status.
    pub writes_status: bool,
    /// FN: requests after this one are not begun before.
    pub is_fence: bool,
    #[bits(25)]
    __: u32,
    /// What is written.
    pub status: u32,
}

#[cfg(test)]
mod tests {
    use super::EntryInvalidation;
    use super::InvalidationWait;

    #[test]
    fn requests_have_the_bits_the_specification_draws() {
        let one = EntryInvalidation::new().with_is_selective(true).with_index(0xabcd);
        assert_eq!(u64::from(one), 0x0000_abcd_0000_0014);
        assert_eq!(u64::from(EntryInvalidation::new()), 4);
        assert_eq!(u64::from(one.with_index_mask(0x1f)), 0x0000_abcd_f800_0014);
        let wait = InvalidationWait::new().with_writes_status(true).with_status(0x1234_5678);
        assert_eq!(u64::from(wait), 0x1234_5678_0000_0025);
        assert_eq!(u64::from(InvalidationWait::new().with_interrupts(true).with_is_fence(true)), 0x55);
    }
}
