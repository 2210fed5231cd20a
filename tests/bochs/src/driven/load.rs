//! The guest under load, and what it counts.

use core::arch::global_asm;
use core::sync::atomic::AtomicI64;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use vector_allocator::CpuId;

global_asm!(
    include_str!("load.s"),
    left = sym LEFT,
    halts = sym HALTS,
    delivered = sym DELIVERED,
    wake_ups = sym WAKE_UPS,
);

/// How many interrupts the guest still takes before it calls.
static LEFT: AtomicI64 = AtomicI64::new(0);
/// Whether it halts in between: 0 if not.
static HALTS: AtomicU64 = AtomicU64::new(0);
/// How often each vector's handler ran.
static DELIVERED: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
/// How often each CPU took the wake-up vector outside the guest, and has not looked since.
static WAKE_UPS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// What the guest does between two interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// It pauses.
    Pauses,
    /// It halts.
    Halts,
}

/// The guest's counters begin anew.
pub(super) fn reset(between: Between) {
    HALTS.store(u64::from(between == Between::Halts), Ordering::Relaxed);
    DELIVERED.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    WAKE_UPS.iter().for_each(|count| count.store(0, Ordering::Relaxed));
}

/// The guest is to call after this many interrupts.
pub(super) fn call_after(interrupts: i64) {
    LEFT.store(interrupts, Ordering::SeqCst);
}

/// How often the handler of a vector ran.
pub(super) fn delivered(vector: u8) -> u64 {
    DELIVERED[usize::from(vector)].load(Ordering::SeqCst)
}

/// Whether a CPU took the wake-up vector since the last call.
pub(super) fn take_wake_up(cpu: CpuId) -> bool {
    WAKE_UPS[cpu.index()].swap(0, Ordering::SeqCst) > 0
}
