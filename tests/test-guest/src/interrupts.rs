//! Interrupts, which arrive in one place only: where a vCPU waits for one.
//!
//! Everywhere else they are disabled, so that no handler runs beside the code it interrupts and neither registers nor the red
//! zone have to be saved: a gate (`entry.S`) names its vector in RAX and goes back with interrupts disabled.

use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// No interrupt: the wait ended for no reason.
pub(crate) const NONE: u8 = 0;
/// Events: the callback's vector, or the vCPU's own.
pub(crate) const UPCALL: u8 = 0x93;
/// The other vCPU wants attention.
pub(crate) const WAKE: u8 = 0xa0;
/// Nothing came for so long that the case has failed. It outranks an upcall that has not got its EOI.
pub(crate) const GUARD: u8 = 0xe1;
/// What the local APIC delivers where an interrupt went away (SDM vol. 3A, 11.9).
pub(crate) const SPURIOUS: u8 = 0xff;

/// The low half of a present 64-bit interrupt gate in the code segment 8 (SDM vol. 3A, 6.14.1).
const INTERRUPT_GATE: u64 = 0x8e00 << 32 | 8 << 16;

/// Interrupt descriptors, 16 bytes each.
static TABLE: [[AtomicU64; 2]; 256] = [const { [AtomicU64::new(0), AtomicU64::new(0)] }; 256];

unsafe extern "C" {
    /// The addresses of the gates, by vector.
    static gates: [u64; 256];
    /// Enables interrupts, halts, and returns the vector of the one that came, or 0, with interrupts disabled.
    fn wait_for_interrupt() -> u64;
}

/// Has this vCPU take its interrupts through the gates.
pub(crate) fn load() {
    // SAFETY: the table in `entry.S` is read-only data of this type.
    let addresses = unsafe { &gates };
    for (descriptor, address) in TABLE.iter().zip(addresses) {
        let low = address & 0xffff | INTERRUPT_GATE | (address >> 16 & 0xffff) << 48;
        descriptor[0].store(low, Ordering::Relaxed);
        descriptor[1].store(address >> 32, Ordering::Relaxed);
    }
    let table = DescriptorTablePointer { limit: 256 * 16 - 1, base: VirtAddr::from_ptr(&raw const TABLE) };
    // SAFETY: the table is static and complete, and its gates keep every register but RAX, which only `wait` exposes.
    unsafe { lidt(&table) }
}

/// Waits for an interrupt; which one came, or [`NONE`].
pub(crate) fn wait() -> u8 {
    // SAFETY: only there are interrupts enabled, every vector has a gate, and the gates keep what a called function must keep.
    let vector = unsafe { wait_for_interrupt() };
    u8::try_from(vector).expect("a gate's vector")
}
