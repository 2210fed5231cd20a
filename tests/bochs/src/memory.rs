//! Memory that the guest or the CPU changes behind the compiler's back: pages of atomics, identity-mapped.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;

/// Four bytes a word, 1024 words.
#[repr(C, align(4096))]
pub(crate) struct Page([AtomicU32; 1024]);

impl Page {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 1024])
    }

    /// Its physical address.
    pub(crate) fn address(&'static self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    /// A word by its number.
    pub(crate) fn load(&self, word: usize) -> u32 {
        self.0[word].load(Ordering::Relaxed)
    }

    /// Sets a word.
    pub(crate) fn store(&self, word: usize, value: u32) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    /// Sets a word, and the one behind it.
    pub(crate) fn store_pair(&self, word: usize, value: u64) {
        let (low, high) = halves(value);
        self.store(word, low);
        self.store(word + 1, high);
    }

    /// Sets all words alike.
    pub(crate) fn fill(&self, value: u32) {
        self.0.iter().for_each(|word| word.store(value, Ordering::Relaxed));
    }
}

/// The two words of eight bytes, lower first.
pub(crate) const fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

/// The VMXON region of each CPU.
pub(crate) static VMXON: [Page; 2] = [const { Page::new() }; 2];
/// The VMCS region.
pub(crate) static VMCS: Page = Page::new();
/// The virtual-APIC page.
pub(crate) static VIRTUAL_APIC: Page = Page::new();
/// The APIC-access page; the guest's accesses to it never reach the memory.
pub(crate) static APIC_ACCESS: Page = Page::new();
/// The MSR bitmaps: reads of low MSRs, of high ones, then writes (SDM vol. 3C, 25.6.9).
pub(crate) static MSR_BITMAP: Page = Page::new();
/// The posted-interrupt descriptor, at the beginning of a page (deviation D6), or 64 bytes into it to see that.
pub(crate) static DESCRIPTOR: Page = Page::new();

/// A stack for one interrupt or fault at a time.
#[repr(C, align(4096))]
pub(crate) struct Stack(Page);

impl Stack {
    /// Where it begins: it grows downwards.
    pub(crate) fn top(&'static self) -> u64 {
        self.0.address() + 4096
    }
}

/// The stack of the guest.
pub(crate) static GUEST_STACK: Stack = Stack(Page::new());
/// The stack of the guest's interrupt handlers.
pub(crate) static GUEST_INTERRUPT_STACK: Stack = Stack(Page::new());
/// The stack of each CPU on which a fault of the image itself is reported.
pub(crate) static FAULT_STACK: [[Stack; 4]; 2] = [const { [const { Stack(Page::new()) }; 4] }; 2];
/// The stack of the second CPU.
pub(crate) static SECOND_STACK: [Stack; 32] = [const { Stack(Page::new()) }; 32];
