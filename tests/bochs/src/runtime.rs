//! What a program brings that has neither a run-time library nor an operating system.

use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::cpu;
use crate::println;

global_asm!(include_str!("start.s"), main = sym crate::main);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("FAIL the image: {info}");
    cpu::shut_down()
}

/// Named by precompiled code that could unwind; nothing here does.
// SAFETY: the name is the compiler's for the routine that unwinding would ask; panics abort, so no one calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
