//! The FIFO ABI's pages: arrays of event words, and control blocks with the heads of the queues.

use core::array;

use crate::event::word::EventWord;
use crate::page::PAGE_SIZE;
use crate::sync::AtomicU32;

/// How wide a link is (`EVTCHN_FIFO_LINK_BITS`).
pub const LINK_BITS: u8 = 17;
/// How many ports the FIFO ABI can name, port 0 included (`EVTCHN_FIFO_NR_CHANNELS`).
pub const FIFO_CHANNELS: u32 = 1 << LINK_BITS;
/// How many queues a vCPU has: one a priority (`EVTCHN_FIFO_MAX_QUEUES`).
pub const FIFO_QUEUES: usize = 16;
/// How many event words a page holds.
pub const EVENT_WORDS_PER_PAGE: usize = PAGE_SIZE / size_of::<u32>();
/// How many pages of event words a domain can have.
pub const MAX_EVENT_ARRAY_PAGES: usize = FIFO_CHANNELS as usize / EVENT_WORDS_PER_PAGE;

/// A page of event words; the word of port *p* is word *p* mod 1024 of page *p* / 1024.
#[derive(Debug)]
#[repr(transparent)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct EventArray(pub [EventWord; EVENT_WORDS_PER_PAGE]);

impl Default for EventArray {
    fn default() -> Self {
        Self(array::from_fn(|_| EventWord::default()))
    }
}

/// One vCPU's queues (`struct evtchn_fifo_control_block`), at an offset divisible by 8 within a page of the guest's.
///
/// The hypervisor writes the heads and sets bits of `ready`; the guest clears them.
#[derive(Debug, Default)]
#[repr(C)]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
pub struct ControlBlock {
    /// Bit *p*: the queue of priority *p* has got a new head.
    pub ready: AtomicU32,
    /// Not used.
    pub reserved: AtomicU32,
    /// The first port of each queue, by priority; valid once the queue's bit in `ready` was set.
    pub head: [AtomicU32; FIFO_QUEUES],
}

/// The priority of a FIFO event channel, 0 to 15; here *0 outranks 15* (`public/event_channel.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FifoPriority(u8);

/// The number is no FIFO event-channel priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("FIFO priority {0} is out of range: 0 (highest) to 15 (lowest)")]
pub struct IllegalFifoPriority(pub u8);

impl FifoPriority {
    /// `EVTCHN_FIFO_PRIORITY_MAX`: served first.
    pub const HIGHEST: Self = Self(0);
    /// `EVTCHN_FIFO_PRIORITY_DEFAULT`.
    pub const DEFAULT: Self = Self(7);
    /// `EVTCHN_FIFO_PRIORITY_MIN`: served last.
    pub const LOWEST: Self = Self(15);

    /// Checks a number once.
    ///
    /// # Errors
    /// [`IllegalFifoPriority`] above 15.
    pub const fn new(number: u8) -> Result<Self, IllegalFifoPriority> {
        if number > 15 { Err(IllegalFifoPriority(number)) } else { Ok(Self(number)) }
    }

    /// The priority in the low four bits of a number; the others are left out.
    #[must_use]
    pub const fn from_low_bits(number: u8) -> Self {
        Self(number & 15)
    }

    /// The number as the ABI carries it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// As an index into a vCPU's queues.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether events of this priority are served before those of `other`.
    #[must_use]
    pub const fn outranks(self, other: Self) -> bool {
        self.0 < other.0
    }
}

#[cfg(test)]
mod tests {
    use super::FifoPriority;

    #[test]
    fn a_fifo_priority_of_0_outranks_one_of_15() {
        assert!(FifoPriority::HIGHEST.outranks(FifoPriority::DEFAULT));
        assert!(FifoPriority::DEFAULT.outranks(FifoPriority::LOWEST));
        assert!(!FifoPriority::DEFAULT.outranks(FifoPriority::DEFAULT));
        assert!(FifoPriority::new(16).is_err());
    }
}
