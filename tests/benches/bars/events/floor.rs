//! The least an event can cost: the read-modify-writes of the ABI, in a straight line, on the words they concern.
//!
//! An event word, a vCPU's control block and its block in shared memory are three lines. Whoever sends over FIFO queues
//! makes the word pending, links it, sets `ready` and sets `upcall_pending`; whoever takes the event exchanges `ready`,
//! takes the word off its queue, clears its pending bit, and exchanges `ready` again: eight. With the word's two changes
//! merged on either side, and `ready` only looked at in the end, five are left; the 2-level ABI has five as well (pending
//! bit, selector, `upcall_pending`; selector, pending bit).

use std::hint::black_box;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::PENDING;

/// A word on lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Line(pub(crate) AtomicU32);

/// The three lines.
#[derive(Debug, Default)]
struct Lines {
    word: Line,
    ready: Line,
    upcall: Line,
}

/// Of priority 7.
const READY: u32 = 1 << 7;

impl Lines {
    /// The eight of Xen's sender and Linux's handler; what they found, so that none is without a use.
    fn eight(&self) -> u32 {
        let mut found = self.word.0.fetch_or(PENDING, Ordering::SeqCst) & PENDING;
        found |= self.word.0.fetch_or(LINKED, Ordering::SeqCst) & LINKED;
        found |= self.ready.0.fetch_or(READY, Ordering::SeqCst) & READY;
        found |= self.upcall.0.swap(1, Ordering::SeqCst);
        self.upcall.0.store(0, Ordering::Relaxed);
        found |= self.ready.0.swap(0, Ordering::SeqCst);
        found |= exchange(&self.word.0, |seen| seen & !LINKED);
        found |= self.word.0.fetch_and(!PENDING, Ordering::SeqCst) & PENDING;
        found | self.ready.0.swap(0, Ordering::SeqCst)
    }

    /// The five that are left.
    fn five(&self) -> u32 {
        let mut found = exchange(&self.word.0, |seen| seen | PENDING | LINKED);
        found |= self.ready.0.fetch_or(READY, Ordering::SeqCst) & READY;
        found |= self.upcall.0.swap(1, Ordering::SeqCst);
        self.upcall.0.store(0, Ordering::Relaxed);
        found |= self.ready.0.swap(0, Ordering::SeqCst);
        found | exchange(&self.word.0, |seen| seen & !(LINKED | PENDING))
    }
}

/// One compare-and-exchange, which succeeds: nobody else is there.
fn exchange(word: &AtomicU32, change: impl Fn(u32) -> u32) -> u32 {
    let seen = word.load(Ordering::Relaxed);
    word.compare_exchange(seen, change(seen), Ordering::SeqCst, Ordering::Relaxed).unwrap_or_else(|changed| changed)
}

/// Eight read-modify-writes an operation.
pub(crate) fn eight() -> impl FnMut(u64) {
    let lines = Lines::default();
    move |operations| {
        let lines = black_box(&lines);
        for _ in 0..operations {
            black_box(lines.eight());
        }
    }
}

/// Five read-modify-writes an operation.
pub(crate) fn five() -> impl FnMut(u64) {
    let lines = Lines::default();
    move |operations| {
        let lines = black_box(&lines);
        for _ in 0..operations {
            black_box(lines.five());
        }
    }
}
