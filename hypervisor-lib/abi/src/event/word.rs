//! The event word: all a guest and the hypervisor share about one FIFO port.

use bitfield_struct::bitfield;

use crate::sync::AtomicU32;
use crate::sync::Ordering;

/// The number of the bit that says the event has happened (`EVTCHN_FIFO_PENDING`).
pub const PENDING_BIT: u32 = 31;
/// The number of the bit that keeps the event out of its queue (`EVTCHN_FIFO_MASKED`).
pub const MASKED_BIT: u32 = 30;
/// The number of the bit that says the event is in a queue (`EVTCHN_FIFO_LINKED`).
pub const LINKED_BIT: u32 = 29;
/// The number of the bit that forbids the guest to unmask while the hypervisor writes the link (`EVTCHN_FIFO_BUSY`).
pub const BUSY_BIT: u32 = 28;

/// [`PENDING_BIT`] as a mask.
pub const PENDING: u32 = 1 << PENDING_BIT;
/// [`MASKED_BIT`] as a mask.
pub const MASKED: u32 = 1 << MASKED_BIT;
/// [`LINKED_BIT`] as a mask.
pub const LINKED: u32 = 1 << LINKED_BIT;
/// [`BUSY_BIT`] as a mask.
pub const BUSY: u32 = 1 << BUSY_BIT;
/// The bits that hold the next port of the queue; 0 ends it (`EVTCHN_FIFO_LINK_MASK`).
pub const LINK_MASK: u32 = (1 << 17) - 1;

/// The value of an event word.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EventWordValue {
    /// The next port of the queue; 0 ends it.
    #[bits(17)]
    pub link: u32,
    #[bits(11)]
    __: u32,
    /// The hypervisor is writing the link: do not unmask.
    pub busy: bool,
    /// The event is in a queue.
    pub linked: bool,
    /// The event is not to be put into a queue.
    pub masked: bool,
    /// The event has happened.
    pub pending: bool,
}

/// The cell an event word's value is in. Both sides change single bits of it, or the link by compare-and-exchange.
#[derive(Debug, Default)]
#[repr(transparent)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct EventWord(pub AtomicU32);

impl EventWord {
    /// The present value.
    pub fn load(&self, order: Ordering) -> EventWordValue {
        self.0.load(order).into()
    }
}

#[cfg(test)]
mod tests {
    use super::BUSY;
    use super::EventWordValue;
    use super::LINK_MASK;
    use super::LINKED;
    use super::MASKED;
    use super::PENDING;

    #[test]
    fn the_masks_name_the_same_bits_as_the_fields() {
        let value = EventWordValue::new;
        assert_eq!(u32::from(value().with_pending(true)), PENDING);
        assert_eq!(u32::from(value().with_masked(true)), MASKED);
        assert_eq!(u32::from(value().with_linked(true)), LINKED);
        assert_eq!(u32::from(value().with_busy(true)), BUSY);
        assert_eq!(u32::from(value().with_link(LINK_MASK)), LINK_MASK);
        assert_eq!(EventWordValue::from(0xa001_ffff).link(), 0x1_ffff);
    }
}
