//! The 2-level ABI's producer (`evtchn_pending`, `evtchn_mask` in `struct shared_info`, `public/xen.h`).
//!
//! The order is the protocol: the pending bit before the selector, the selector before the upcall. A second event that
//! finds the pending bit set is absorbed; an event that finds the mask set waits for `EVTCHNOP_unmask`. Mask and pending
//! bit are each changed by one side and then looked at by the other, so each side's change and look are sequentially
//! consistent: at least one of the two sees both.

use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo32;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use hypervisor_abi::sync::fence;
use lock_api::RawMutex;

use super::domain::Domain;
use super::host::Host;
use super::memory::GuestMemory;
use super::slot::Slot;

/// A domain's bitmaps in either layout.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bitmaps<'m> {
    Bits64(&'m SharedInfo64),
    Bits32(&'m SharedInfo32),
}

/// One of the two bitmaps.
#[derive(Clone, Copy, Debug)]
enum Which {
    Pending,
    Mask,
}

/// Runs an expression with `$word` and `$bit` of a port in either layout; `None` beyond the bitmap.
macro_rules! with_bit {
    ($bitmaps:expr, $which:expr, $port:expr, |$word:ident, $bit:ident| $result:expr) => {
        match $bitmaps {
            Bitmaps::Bits64(info) => {
                let words = match $which {
                    Which::Pending => &info.evtchn_pending,
                    Which::Mask => &info.evtchn_mask,
                };
                let ($word, $bit) = (words.get($port.index() / 64), 1_u64 << ($port.0 % 64));
                $word.map(|$word| $result)
            }
            Bitmaps::Bits32(info) => {
                let words = match $which {
                    Which::Pending => &info.evtchn_pending,
                    Which::Mask => &info.evtchn_mask,
                };
                let ($word, $bit) = (words.get($port.index() / 32), 1_u32 << ($port.0 % 32));
                $word.map(|$word| $result)
            }
        }
    };
}

impl Bitmaps<'_> {
    /// How many bits a word has.
    const fn word_bits(self) -> u32 {
        match self {
            Self::Bits64(_) => 64,
            Self::Bits32(_) => 32,
        }
    }

    fn has(self, which: Which, port: Port, order: Ordering) -> bool {
        with_bit!(self, which, port, |word, bit| word.load(order) & bit != 0).unwrap_or(false)
    }

    /// Sets a bit; whether it was set before. Beyond the bitmap nothing happens.
    fn set(self, which: Which, port: Port) -> bool {
        with_bit!(self, which, port, |word, bit| word.fetch_or(bit, Ordering::SeqCst) & bit != 0).unwrap_or(true)
    }

    /// Clears a bit; whether it was set before.
    fn clear(self, which: Which, port: Port) -> bool {
        with_bit!(self, which, port, |word, bit| word.fetch_and(!bit, Ordering::SeqCst) & bit != 0).unwrap_or(false)
    }

    pub(crate) fn is_pending(self, port: Port) -> bool {
        self.has(Which::Pending, port, Ordering::SeqCst)
    }

    pub(crate) fn is_masked(self, port: Port) -> bool {
        self.has(Which::Mask, port, Ordering::SeqCst)
    }

    /// Clears a pending bit; whether it was set.
    pub(crate) fn clear_pending(self, port: Port) -> bool {
        self.clear(Which::Pending, port)
    }
}

impl<L: RawMutex> Domain<L> {
    pub(crate) fn bitmaps<'m>(&self, memory: &'m impl GuestMemory) -> Option<Bitmaps<'m>> {
        if let Some(info) = self.shared_info_64.get(memory) {
            return Some(Bitmaps::Bits64(info));
        }
        self.shared_info_32.get(memory).map(Bitmaps::Bits32)
    }

    /// Makes a port pending, selects its word and calls its vCPU.
    pub(crate) fn two_level_set_pending<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: &Slot<L>) {
        let Some(bitmaps) = self.bitmaps(host) else { return };
        let looks_pending = || bitmaps.has(Which::Pending, port, Ordering::Acquire);
        if looks_pending() {
            // What the sender wrote before must be visible to a guest that clears the bit after this look.
            fence(Ordering::SeqCst);
            if looks_pending() {
                return;
            }
        }
        if bitmaps.set(Which::Pending, port) {
            return;
        }
        change_before_look();
        if !bitmaps.is_masked(port) {
            self.two_level_select(host, bitmaps, port, slot);
        }
        self.wake_pollers(host, port);
    }

    fn two_level_select<H: Host<Lock = L>>(&self, host: &H, bitmaps: Bitmaps<'_>, port: Port, slot: &Slot<L>) {
        let vcpu = slot.route().vcpu;
        let word = port.0 / bitmaps.word_bits();
        if self.vcpu_info(host, vcpu).is_some_and(|info| info.select(word)) {
            self.mark_pending(host, vcpu);
        }
    }

    /// Clears a port's mask, and calls its vCPU if an event was waiting behind it.
    pub(crate) fn two_level_unmask<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: &Slot<L>) {
        let Some(bitmaps) = self.bitmaps(host) else { return };
        if bitmaps.clear(Which::Mask, port) {
            change_before_look();
            if bitmaps.is_pending(port) {
                self.two_level_select(host, bitmaps, port, slot);
            }
        }
    }
}
