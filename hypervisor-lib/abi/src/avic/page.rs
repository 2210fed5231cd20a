//! The page that holds a vCPU's local APIC.

use crate::apic::ApicRegister;
use crate::apic::SLOT_SIZE;
use crate::apic::VectorBank;
#[cfg(not(any(loom, shuttle)))]
use crate::page::PAGE_SIZE;
use crate::sync::AtomicU32;
use crate::sync::Ordering;

/// How many slots the page has. A model checker gets only those that have registers: it follows every atomic there is.
#[cfg(not(any(loom, shuttle)))]
const SLOTS: usize = PAGE_SIZE / SLOT_SIZE as usize;
#[cfg(any(loom, shuttle))]
const SLOTS: usize = 0x400 / SLOT_SIZE as usize;

/// A register, in the lowest four of its 16 bytes.
#[derive(Debug, Default)]
#[repr(C)]
pub struct RegisterSlot {
    /// The register.
    pub value: AtomicU32,
    /// The upper half of a register of 64 bits, where a processor keeps it there (Intel's ICR in x2APIC mode).
    pub upper: AtomicU32,
    #[cfg(not(any(loom, shuttle)))]
    unused: [AtomicU32; 2],
}

/// A vCPU's local APIC in memory: AVIC's backing page (APM vol. 2, 15.29.3). The processor that runs the vCPU, processors that
/// send to it, the IOMMU and the hypervisor all change it at once, vectors by atomic operations on single bits. Intel's
/// virtual-APIC page has the same layout (SDM vol. 3C, 30.1.1); it belongs to the processor that runs the vCPU, or to the
/// vCPU's thread when none does.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct BackingPage([RegisterSlot; SLOTS]);

/// A set of vectors that the page holds, 32 to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorBits {
    /// ISR.
    InService,
    /// TMR: whoever makes a vector pending sets or clears its bit first.
    TriggerMode,
    /// IRR.
    InterruptRequest,
}

impl VectorBits {
    /// The register that holds the bit of `vector`.
    #[must_use]
    pub const fn register(self, vector: u8) -> ApicRegister {
        self.bank(VectorBank::ALL[vector as usize / 32])
    }

    const fn bank(self, bank: VectorBank) -> ApicRegister {
        match self {
            Self::InService => ApicRegister::InService(bank),
            Self::TriggerMode => ApicRegister::TriggerMode(bank),
            Self::InterruptRequest => ApicRegister::InterruptRequest(bank),
        }
    }
}

impl Default for BackingPage {
    fn default() -> Self {
        Self(core::array::from_fn(|_| RegisterSlot::default()))
    }
}

impl BackingPage {
    /// The cell of a register.
    #[must_use]
    pub fn register(&self, register: ApicRegister) -> &AtomicU32 {
        &self.register_slot(register).value
    }

    /// The slot of a register.
    #[must_use]
    pub fn register_slot(&self, register: ApicRegister) -> &RegisterSlot {
        &self.0[usize::from(register.offset() / SLOT_SIZE)]
    }

    /// The cell of the slot that holds the byte at `offset`, whether or not it is a register; none outside the page.
    #[must_use]
    pub fn slot(&self, offset: u16) -> Option<&AtomicU32> {
        self.0.get(usize::from(offset / SLOT_SIZE)).map(|slot| &slot.value)
    }

    /// Whether a vector's bit is set.
    #[must_use]
    pub fn has(&self, bits: VectorBits, vector: u8) -> bool {
        self.register(bits.register(vector)).load(Ordering::Acquire) & bit(vector) != 0
    }

    /// Sets a vector's bit by one atomic operation; says whether it was set before.
    pub fn set(&self, bits: VectorBits, vector: u8) -> bool {
        self.register(bits.register(vector)).fetch_or(bit(vector), Ordering::SeqCst) & bit(vector) != 0
    }

    /// Clears a vector's bit by one atomic operation; says whether it was set before.
    pub fn clear(&self, bits: VectorBits, vector: u8) -> bool {
        self.register(bits.register(vector)).fetch_and(!bit(vector), Ordering::SeqCst) & bit(vector) != 0
    }

    /// The highest vector whose bit is set.
    #[must_use]
    pub fn highest(&self, bits: VectorBits) -> Option<u8> {
        VectorBank::ALL.into_iter().rev().zip((0..8_u8).rev()).find_map(|(bank, index)| {
            let word = self.register(bits.bank(bank)).load(Ordering::SeqCst);
            let highest = 31_u8.checked_sub(u8::try_from(word.leading_zeros()).ok()?)?;
            Some(index * 32 + highest)
        })
    }
}

const fn bit(vector: u8) -> u32 {
    1 << (vector % 32)
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::BackingPage;
    use super::RegisterSlot;
    use super::SLOT_SIZE;
    use super::VectorBits;
    use crate::apic::ApicRegister;
    use crate::page::PAGE_SIZE;
    use crate::sync::Ordering;

    #[test]
    fn the_page_is_a_page_and_a_register_stands_at_its_offset() {
        assert_eq!((size_of::<BackingPage>(), align_of::<BackingPage>()), (PAGE_SIZE, PAGE_SIZE));
        assert_eq!((size_of::<RegisterSlot>(), offset_of!(RegisterSlot, value)), (usize::from(SLOT_SIZE), 0));
        assert_eq!(offset_of!(RegisterSlot, upper), 4);
        let page = BackingPage::default();
        for offset in (0..0x400).step_by(16) {
            let Some(register) = ApicRegister::at_offset(offset) else { continue };
            page.register(register).store(u32::from(offset), Ordering::Relaxed);
        }
        for (slot, offset) in page.0.iter().zip((0..).step_by(16)) {
            let expected = ApicRegister::at_offset(offset).map_or(0, |_| u32::from(offset));
            assert_eq!(slot.value.load(Ordering::Relaxed), expected, "{offset:#x}");
            for byte in [offset, offset + 15] {
                assert!(page.slot(byte).is_some_and(|cell| core::ptr::eq(cell, &raw const slot.value)));
            }
        }
        assert!(page.slot(0x1000).is_none());
    }

    #[test]
    fn every_vector_has_a_bit_of_its_own_where_the_manual_puts_it() {
        for (bits, base) in
            [(VectorBits::InService, 0x100), (VectorBits::TriggerMode, 0x180), (VectorBits::InterruptRequest, 0x200)]
        {
            for vector in 0..=u8::MAX {
                let page = BackingPage::default();
                assert_eq!(page.highest(bits), None);
                assert!(!page.set(bits, vector) && page.set(bits, vector), "{vector:#x}");
                let register = bits.register(vector);
                assert_eq!(register.offset(), base | (u16::from(vector) & 0xe0) >> 1, "{vector:#x}");
                assert_eq!(page.register(register).load(Ordering::Relaxed), 1 << (vector & 0x1f));
                assert_eq!(page.highest(bits), Some(vector));
                assert!(page.has(bits, vector) && page.clear(bits, vector) && !page.clear(bits, vector));
            }
        }
    }

    #[test]
    fn the_highest_of_two_vectors_is_the_greater() {
        let page = BackingPage::default();
        for (low, high) in [(0x10, 0xff), (0x3f, 0x40), (0x51, 0x52)] {
            page.set(VectorBits::InterruptRequest, low);
            page.set(VectorBits::InterruptRequest, high);
            assert_eq!(page.highest(VectorBits::InterruptRequest), Some(high));
            page.clear(VectorBits::InterruptRequest, high);
            assert_eq!(page.highest(VectorBits::InterruptRequest), Some(low));
            page.clear(VectorBits::InterruptRequest, low);
        }
    }
}
