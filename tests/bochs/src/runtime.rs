//! What a program brings that has neither a run-time library nor an operating system.

use core::alloc::GlobalAlloc;
use core::alloc::Layout;
use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::cpu;
use crate::println;

global_asm!(include_str!("start.s"), main = sym crate::main);

/// The model's crate asks for an allocator; nothing of it that runs here allocates.
struct NoHeap;

// SAFETY: no memory is ever handed out, so none can be handed out twice or wrongly.
unsafe impl GlobalAlloc for NoHeap {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static HEAP: NoHeap = NoHeap;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("FAIL the image: {info}");
    cpu::shut_down()
}

/// Named by precompiled code that could unwind; nothing here does.
// SAFETY: the name is the compiler's for the routine that unwinding would ask; panics abort, so no one calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
