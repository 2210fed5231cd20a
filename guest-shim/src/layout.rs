//! The shared page and the vCPU's block, whichever width the guest's words have.

use core::fmt::Debug;
use core::hint::black_box;

use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo32;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::VcpuInfo32;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;

use crate::abi::Found;

mod sealed {
    /// Keeps the layouts to the two there are.
    pub trait Sealed {}
}

/// A vCPU's block: what is pending for it.
pub trait VcpuBlock: sealed::Sealed + Debug + Send + Sync + 'static {
    /// Not 0: the vCPU has events. The hypervisor sets it, the vCPU clears it.
    fn upcall_pending(&self) -> &AtomicU8;

    /// Takes the 2-level ABI's selector: bit *w* says that word *w* has got a pending bit.
    fn take_selector(&self) -> u64;
}

/// The shared page of a guest, with the 2-level ABI's bitmaps. Ports beyond them are never pending and always masked.
pub trait SharedInfo: sealed::Sealed + Debug + Send + Sync + 'static {
    /// A vCPU's block in this layout.
    type VcpuInfo: VcpuBlock;
    /// How many bits a word has; so many words has each bitmap.
    const WORD_BITS: u32;

    /// The block of one of the first 32 vCPUs; the others must register one.
    fn vcpu_info(&self, vcpu: VcpuId) -> Option<&Self::VcpuInfo>;

    /// The ports of a word that are pending and not masked; bit 0 is the word's first port.
    fn deliverable(&self, word: u32) -> u64;

    /// Whether a port is pending.
    fn is_pending(&self, port: Port) -> bool;

    /// Whether a port is masked.
    fn is_masked(&self, port: Port) -> bool;

    /// Clears a port's pending bit. Only one vCPU finds the event, even while its port moves from one to the other.
    fn claim(&self, port: Port) -> Found;

    /// Masks a port.
    fn mask(&self, port: Port);

    /// Clears a port's mask, then looks at its pending bit.
    fn unmask_and_look(&self, port: Port) -> bool;

    /// Masks every port.
    fn mask_all(&self);
}

/// What a vCPU finds that another one was faster than, which happens only while a port moves.
#[cold]
#[inline(never)]
fn claimed_elsewhere() -> Found {
    black_box(Found::Nothing)
}

/// Implements both traits for one width.
macro_rules! layout {
    ($shared:ty, $vcpu:ty, $word:ty) => {
        impl sealed::Sealed for $vcpu {}
        impl sealed::Sealed for $shared {}

        impl VcpuBlock for $vcpu {
            #[inline]
            fn upcall_pending(&self) -> &AtomicU8 {
                &self.evtchn_upcall_pending
            }

            #[inline]
            fn take_selector(&self) -> u64 {
                // Not ordered by a mere load: the exchange also keeps the clearing of `upcall_pending` before it.
                u64::from(self.evtchn_pending_sel.swap(0, Ordering::AcqRel))
            }
        }

        impl SharedInfo for $shared {
            type VcpuInfo = $vcpu;
            const WORD_BITS: u32 = <$word>::BITS;

            fn vcpu_info(&self, vcpu: VcpuId) -> Option<&$vcpu> {
                self.vcpu_info.get(vcpu.index())
            }

            #[inline]
            fn deliverable(&self, word: u32) -> u64 {
                let index = Port(word).index();
                let (Some(pending), Some(mask)) = (self.evtchn_pending.get(index), self.evtchn_mask.get(index)) else {
                    return 0;
                };
                u64::from(pending.load(Ordering::Acquire) & !mask.load(Ordering::Acquire))
            }

            fn is_pending(&self, port: Port) -> bool {
                let word = self.evtchn_pending.get(port.index() / <$word>::BITS as usize);
                word.is_some_and(|word| word.load(Ordering::Acquire) >> (port.0 % <$word>::BITS) & 1 == 1)
            }

            #[inline]
            fn is_masked(&self, port: Port) -> bool {
                let word = self.evtchn_mask.get(port.index() / <$word>::BITS as usize);
                word.is_none_or(|word| word.load(Ordering::Acquire) >> (port.0 % <$word>::BITS) & 1 == 1)
            }

            #[inline]
            fn claim(&self, port: Port) -> Found {
                let Some(word) = self.evtchn_pending.get(port.index() / <$word>::BITS as usize) else {
                    return Found::Nothing;
                };
                // One `lock btr`, not a loop, as long as the compiler sees a shift and a branch (not a value).
                let bit: $word = 1 << (port.0 % <$word>::BITS);
                if word.fetch_and(!bit, Ordering::SeqCst) & bit == 0 {
                    return claimed_elsewhere();
                }
                change_before_look();
                Found::Event
            }

            #[inline]
            fn mask(&self, port: Port) {
                if let Some(word) = self.evtchn_mask.get(port.index() / <$word>::BITS as usize) {
                    word.fetch_or(1 << (port.0 % <$word>::BITS), Ordering::SeqCst);
                }
            }

            fn unmask_and_look(&self, port: Port) -> bool {
                let index = port.index() / <$word>::BITS as usize;
                let (Some(pending), Some(mask)) = (self.evtchn_pending.get(index), self.evtchn_mask.get(index)) else {
                    return false;
                };
                let bit: $word = 1 << (port.0 % <$word>::BITS);
                // The hypervisor sets the pending bit and then looks at the mask; this is the other half: one of the two
                // sees the other's change (XSA-332).
                mask.fetch_and(!bit, Ordering::SeqCst);
                change_before_look();
                pending.load(Ordering::SeqCst) & bit != 0
            }

            fn mask_all(&self) {
                for word in &self.evtchn_mask {
                    word.store(<$word>::MAX, Ordering::SeqCst);
                }
            }
        }
    };
}

layout!(SharedInfo64, VcpuInfo64, u64);
layout!(SharedInfo32, VcpuInfo32, u32);
