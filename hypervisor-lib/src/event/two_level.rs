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
use super::domain::Era;
use super::host::Host;
use super::memory::GuestMemory;
use super::slot::Slot;
use super::slot::Source;

/// A domain's bitmaps in either layout.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bitmaps<'m> {
    Bits64(&'m SharedInfo64),
    Bits32(&'m SharedInfo32),
}

/// The bitmaps in one layout. Beyond them nothing is pending or masked, and nothing can be changed.
trait Layout {
    /// How many bits a word has.
    const WORD_BITS: u32;

    fn is_pending(&self, port: Port, order: Ordering) -> bool;

    fn is_masked(&self, port: Port) -> bool;

    /// Sets a pending bit; whether it was clear before.
    fn set_pending(&self, port: Port) -> bool;

    /// Clears a pending bit; whether it was set.
    fn clear_pending(&self, port: Port) -> bool;

    /// Clears a mask bit; whether it was set.
    fn clear_mask(&self, port: Port) -> bool;
}

/// Implements the trait for one width.
macro_rules! layout {
    ($shared:ty, $word:ty) => {
        // Asked whether a bit was clear, not whether it was set, the compiler makes one `lock bts` of it, not a loop.
        impl Layout for $shared {
            const WORD_BITS: u32 = <$word>::BITS;

            #[inline(always)]
            fn is_pending(&self, port: Port, order: Ordering) -> bool {
                let word = self.evtchn_pending.get(port.index() / <$word>::BITS as usize);
                word.is_some_and(|word| word.load(order) & (1 << (port.0 % <$word>::BITS)) != 0)
            }

            #[inline(always)]
            fn is_masked(&self, port: Port) -> bool {
                let word = self.evtchn_mask.get(port.index() / <$word>::BITS as usize);
                word.is_some_and(|word| word.load(Ordering::SeqCst) & (1 << (port.0 % <$word>::BITS)) != 0)
            }

            #[inline(always)]
            fn set_pending(&self, port: Port) -> bool {
                let Some(word) = self.evtchn_pending.get(port.index() / <$word>::BITS as usize) else { return false };
                let bit: $word = 1 << (port.0 % <$word>::BITS);
                word.fetch_or(bit, Ordering::SeqCst) & bit == 0
            }

            fn clear_pending(&self, port: Port) -> bool {
                let Some(word) = self.evtchn_pending.get(port.index() / <$word>::BITS as usize) else { return false };
                let bit: $word = 1 << (port.0 % <$word>::BITS);
                word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
            }

            fn clear_mask(&self, port: Port) -> bool {
                let Some(word) = self.evtchn_mask.get(port.index() / <$word>::BITS as usize) else { return false };
                let bit: $word = 1 << (port.0 % <$word>::BITS);
                word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
            }
        }
    };
}

layout!(SharedInfo64, u64);
layout!(SharedInfo32, u32);

/// Runs an expression with the bitmaps in their layout.
macro_rules! in_layout {
    ($bitmaps:expr, |$info:ident| $result:expr) => {
        match $bitmaps {
            Bitmaps::Bits64($info) => $result,
            Bitmaps::Bits32($info) => $result,
        }
    };
}

impl Bitmaps<'_> {
    /// Whether an event changes nothing: the port is pending, and whoever clears that will look for events afterwards.
    #[inline]
    pub(crate) fn absorbs(self, port: Port) -> bool {
        in_layout!(self, |info| info.is_pending(port, Ordering::Acquire) && {
            // What the sender wrote before must be visible to a guest that clears the bit after this look.
            fence(Ordering::SeqCst);
            info.is_pending(port, Ordering::Acquire)
        })
    }

    pub(crate) fn is_pending(self, port: Port) -> bool {
        in_layout!(self, |info| info.is_pending(port, Ordering::SeqCst))
    }

    pub(crate) fn is_masked(self, port: Port) -> bool {
        in_layout!(self, |info| info.is_masked(port))
    }

    /// Clears a pending bit; whether it was set.
    pub(crate) fn clear_pending(self, port: Port) -> bool {
        in_layout!(self, |info| info.clear_pending(port))
    }
}

impl<L: RawMutex> Domain<L> {
    pub(crate) fn bitmaps<'m>(&self, memory: &'m impl GuestMemory) -> Option<Bitmaps<'m>> {
        if let Some(info) = self.shared_info_64.get(memory) {
            return Some(Bitmaps::Bits64(info));
        }
        self.shared_info_32.get(memory).map(Bitmaps::Bits32)
    }

    /// Makes a port pending, selects its word and calls its vCPU. The caller has made sure that it stays open meanwhile.
    pub(crate) fn two_level_set_pending<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: Slot<'_, L>) {
        if let Some(bitmaps) = self.bitmaps(host).filter(|bitmaps| !bitmaps.absorbs(port)) {
            self.two_level_raise(host, bitmaps, port, slot);
        }
    }

    /// Makes a port pending if that is an ordinary matter; else `false`. The caller holds no lock.
    #[inline]
    pub(crate) fn two_level_try_raise<H: Host<Lock = L>>(
        &self,
        host: &H,
        port: Port,
        slot: Slot<'_, L>,
        era: Era,
        source: Source<'_, L>,
    ) -> bool {
        let Some(bitmaps) = self.bitmaps(host) else { return false };
        if bitmaps.absorbs(port) {
            return true;
        }
        let _held = source.lock();
        // From here on nobody closes the port, but it may have been closed before, and the ABI may be another.
        if !source.is_unchanged() || slot.consumer().is_some() || self.era() != era {
            return false;
        }
        self.two_level_raise(host, bitmaps, port, slot);
        true
    }

    #[inline]
    fn two_level_raise<H: Host<Lock = L>>(&self, host: &H, bitmaps: Bitmaps<'_>, port: Port, slot: Slot<'_, L>) {
        in_layout!(bitmaps, |info| self.raise_in(host, info, port, slot));
    }

    #[inline(always)]
    fn raise_in<H: Host<Lock = L>>(&self, host: &H, info: &impl Layout, port: Port, slot: Slot<'_, L>) {
        if !info.set_pending(port) {
            return;
        }
        change_before_look();
        if !info.is_masked(port) {
            self.select(host, info, port, slot);
        }
        self.wake_pollers(host, port);
        // Whoever switches ABIs collects the old bits after the switch: either it saw this one, or this sees the switch.
        change_before_look();
        if let Some(fifo) = self.fifo_in_use() {
            self.fifo_set_pending(host, fifo, port, slot);
        }
    }

    #[inline(always)]
    fn select<H: Host<Lock = L>, I: Layout>(&self, host: &H, _: &I, port: Port, slot: Slot<'_, L>) {
        let vcpu = slot.route().vcpu;
        let Some(own) = self.vcpus.get(vcpu.index()) else { return };
        if self.info_of(host, vcpu, own).is_some_and(|info| info.select(port.0 / I::WORD_BITS)) {
            self.call(host, vcpu);
        }
    }

    /// Clears a port's mask, and calls its vCPU if an event was waiting behind it.
    pub(crate) fn two_level_unmask<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: Slot<'_, L>) {
        let Some(bitmaps) = self.bitmaps(host) else { return };
        in_layout!(bitmaps, |info| if info.clear_mask(port) {
            change_before_look();
            if info.is_pending(port, Ordering::SeqCst) {
                self.select(host, info, port, slot);
            }
        });
    }
}
