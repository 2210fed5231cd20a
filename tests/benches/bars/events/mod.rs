//! Bars E1 and E3 to E7: what an event costs from its sender to its handler, against the read-modify-writes it needs.
//!
//! The sender is hypervisor-lib, as its hypercall enters it; the handler is called by guest-shim's upcall loop. The locks
//! are spin locks (spinning_top's, of the rust-osdev project), one compare-and-exchange to take and a plain store to give
//! back: a hypervisor holds the locks of this path for a bounded number of steps and cannot sleep. A monitor that is a
//! process would take parking_lot's, whose release is a compare-and-exchange as well; that is reported.
//!
//! What the assembly shows (x86-64, `objdump` of this bench): over FIFO queues six locked instructions an event, the
//! queue's lock, `cmpxchg` of the event word, `bts` of `ready` and `xchg` of `upcall_pending` on the sender's side, `xchg`
//! of `ready` and `cmpxchg` of the word on the handler's. With the 2-level ABI six as well: the port's lock, `bts` of the
//! pending bit and of the selector, `xchg` of `upcall_pending`; `xchg` of the selector, `btr` of the pending bit. A send
//! that is absorbed has one, a `lock or` on the sender's own stack, which is how the compiler writes a full fence.

mod counting;
mod floor;
mod guest;
mod hypervisor;
mod memory;
mod one_port;
mod scale;
mod threads;

use crate::harness::Bar;

/// The bars of event channels that are about time.
pub(crate) fn measure() -> Vec<Bar> {
    [one_port::measure(), one_port::kicks(), scale::measure(), threads::measure()].concat()
}

pub(crate) use self::memory::measure as measure_memory;
