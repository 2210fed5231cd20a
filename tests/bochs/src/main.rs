//! Compares the model of VMX's APIC virtualization, `carillon_machine::vmx`, with the CPU this image runs on, and drives that CPU
//! by the engines of `hypervisor_lib` (`driven`).
//!
//! It is booted by `boot/boot.asm` inside Bochs, enters VMX root mode, and runs one guest, `guest.s`: an interpreter of small
//! programs. Each check gives model and CPU the same VMCS, virtual-APIC page and program, and compares what came out: the
//! log of interrupts, values read and VM exits, the page, RVI and SVI, and RFLAGS.IF.
//!
//! What it prints on the serial line is what `tests/bochs/run` judges: a line a check, `ok` or `FAIL`, and a last line.
#![no_std]
#![no_main]
// UNSAFETY: privileged instructions, the entry and exit of the guest, and what a program without a run-time library has to
// bring. Memory that the guest or the CPU changes consists of atomics, so that reading it takes no unsafe code.
#![expect(unsafe_code, reason = "privileged instructions")]

extern crate alloc;

mod checks;
mod comparison;
mod cpu;
mod driven;
mod entry;
mod event;
mod heap;
mod memory;
mod processor;
mod program;
mod random;
mod runtime;
mod second;
mod serial;
mod tables;
mod twin;
mod vmcs;

use vector_allocator::CpuId;

use crate::cpu::Capabilities;
use crate::random::Seed;

/// Where the image begins: `runtime.rs` has set up a stack and zeroed what begins as zeros.
extern "C" fn main() -> ! {
    serial::set_up();
    let seed = Seed::of_boot_sector();
    let capabilities = Capabilities::read();
    println!("seed {seed}");
    println!("cpu {capabilities}");
    tables::fill();
    tables::load(CpuId::BOOT);
    cpu::enter_vmx_root(&memory::VMXON[0]);
    let tally = checks::run(seed, &capabilities);
    println!("{tally}");
    cpu::shut_down()
}
