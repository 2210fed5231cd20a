//! A guest without an operating system that tests event channels from the inside, over guest-shim.
//!
//! What it is: an image that boots wherever PVH boots ([`entry`]), finds out where it is, runs its [`cases`] one after the
//! other and tells of each in one line ([`record`]). A case that fails is given up where it stands, and the next one begins
//! with everything reset. Where there is no Xen, the cases that need it are skipped and say so.
//!
//! What it is not: a judge. Which cases there must be, and what else the hypervisor and dom0 have to show, knows the runner
//! in `tests/xen`.
//!
//! Interrupts are disabled but in [`interrupts::wait`]; each vCPU does one thing at a time.
#![no_std]
#![no_main]
// UNSAFETY: privileged instructions, hypercalls, memory that the hypervisor writes, and entry from assembly.
#![expect(unsafe_code, reason = "there is nothing below this image that could do it")]

mod apic;
mod bed;
mod cases;
mod clock;
mod console;
mod cpu;
mod entry;
mod hypervisor;
mod interrupts;
mod machine;
mod mailbox;
mod memory;
mod memory_functions;
mod record;
mod second;
mod start_info;
