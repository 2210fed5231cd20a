//! The steps a producer takes on an event word, so that a test can put a guest between any two of them.

use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::EventWordValue;
use hypervisor_abi::sync::Ordering;

/// An event word, one atomic step at a time. What a step reads is read with acquire, what it writes written with release.
pub(super) trait Word {
    fn load(&self) -> EventWordValue;

    /// The word before, and in the error the word that is there instead.
    fn compare_exchange(&self, current: u32, new: u32) -> Result<u32, u32>;

    /// The word before.
    fn fetch_or(&self, bits: u32) -> u32;

    /// The word before.
    fn fetch_and(&self, bits: u32) -> u32;
}

impl Word for EventWord {
    #[inline]
    fn load(&self) -> EventWordValue {
        self.load(Ordering::Acquire)
    }

    #[inline]
    fn compare_exchange(&self, current: u32, new: u32) -> Result<u32, u32> {
        self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }

    #[inline]
    fn fetch_or(&self, bits: u32) -> u32 {
        self.0.fetch_or(bits, Ordering::AcqRel)
    }

    #[inline]
    fn fetch_and(&self, bits: u32) -> u32 {
        self.0.fetch_and(bits, Ordering::AcqRel)
    }
}
