//! From assembly into Rust: the first vCPU's begin, the next case after one that failed, exceptions and panics.

use core::arch::asm;
use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::apic;
use crate::cases;
use crate::cpu;
use crate::interrupts;
use crate::machine;
use crate::machine::Role;
use crate::record;

global_asm!(include_str!("entry.S"), options(att_syntax));

unsafe extern "C" {
    /// Gives the first vCPU's stack up and calls [`next_case`].
    fn abandon_case() -> !;
}

/// The first vCPU, in 64-bit mode on its own stack; `start_info` is the address of `hvm_start_info`.
#[unsafe(no_mangle)]
extern "C" fn first_main(start_info: u64) -> ! {
    interrupts::load();
    machine::discover(start_info);
    next_case()
}

/// Runs the cases that have not begun yet, then ends the guest; the far guest goes on serving.
#[unsafe(no_mangle)]
extern "C" fn next_case() -> ! {
    if machine::machine().xen.as_ref().is_some_and(|xen| xen.role == Role::Far) {
        cases::serve_far();
    }
    cases::run_rest();
    machine::shut_down()
}

/// What the gates of exceptions call: the frame begins with the error code, or 0.
#[unsafe(no_mangle)]
extern "C" fn exception(vector: u32, frame: &[u64; 4]) -> ! {
    let [error, rip, _, rflags] = *frame;
    panic!("exception {vector} at {rip:#x}: error {error:#x}, flags {rflags:#x}, address {:#x}", cpu::fault_address());
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if apic::is_first_vcpu() {
        // What the other vCPU works on is about to be given up.
        apic::stop_others();
        record::failed(info);
        // SAFETY: the frames that are given up own nothing but memory of the stack; what they shared with the other vCPU is
        // no longer used, since that was stopped; the stack itself is the first vCPU's.
        unsafe { abandon_case() }
    }
    record::failed(info);
    halt()
}

/// Stops this vCPU for good.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: with interrupts disabled the vCPU stops here, which touches nothing.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
