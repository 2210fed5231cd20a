//! Memory for what the libraries keep in boxes and lists: handed out once, never taken back.

use core::alloc::GlobalAlloc;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;

/// Each check makes a hypervisor or two, of a few pages.
const SIZE: usize = 4 << 20;

#[repr(C, align(4096))]
struct Arena {
    bytes: UnsafeCell<[u8; SIZE]>,
    /// How much is handed out.
    used: AtomicUsize,
}

// SAFETY: the bytes are reached only through what `alloc` hands out, and that never overlaps: `used` only grows, by one atomic
// change a time.
unsafe impl Sync for Arena {}

// SAFETY: what is handed out lies in the arena, is aligned as asked, and is never handed out again.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = |used: usize| used.checked_next_multiple_of(layout.align());
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            place(used)?.checked_add(layout.size()).filter(|end| *end <= SIZE)
        });
        let Some(start) = taken.ok().and_then(place).filter(|_| layout.align() <= 4096) else {
            return core::ptr::null_mut();
        };
        self.bytes.get().cast::<u8>().wrapping_add(start)
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static HEAP: Arena = Arena { bytes: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) };
