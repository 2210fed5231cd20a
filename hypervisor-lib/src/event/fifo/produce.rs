//! Making a port pending and putting it into its vCPU's queue.

use hypervisor_abi::Port;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use hypervisor_abi::sync::fence;
use lock_api::MutexGuard;
use lock_api::RawMutex;

use super::Fifo;
use super::Tail;
use super::link::Append;
use super::link::append;
use super::link::raise;
use crate::event::domain::Domain;
use crate::event::host::Host;
use crate::event::slot::Route;
use crate::event::slot::Slot;

/// How often a sender takes the locks of a port's queues before it gives up on a port that is moved all the time
/// (8aa0e9d2d1).
const QUEUE_TRIES: u32 = 3;

/// The queues a port is in and goes to, locked.
struct Locked<'q, L: RawMutex> {
    route: Route,
    tail: MutexGuard<'q, L, Tail>,
    /// The queue the port was in last, if that is another one.
    old: Option<MutexGuard<'q, L, Tail>>,
}

impl<L: RawMutex> Domain<L> {
    /// Makes a port pending. An event for which there is no event word yet is kept for the page that brings it.
    pub(crate) fn fifo_set_pending<H: Host<Lock = L>>(&self, host: &H, fifo: &Fifo<L>, port: Port, slot: &Slot<L>) {
        let word = fifo.word(host, port).or_else(|| {
            slot.keep_unraised();
            // The page may have come between the look and the note; then whoever takes the note first raises the event.
            fence(Ordering::SeqCst);
            fifo.word(host, port).filter(|_| slot.take_unraised())
        });
        if let Some(word) = word
            && !is_absorbed(word)
        {
            self.fifo_raise(host, fifo, port, slot, word);
        }
    }

    fn fifo_raise<H: Host<Lock = L>>(&self, host: &H, fifo: &Fifo<L>, port: Port, slot: &Slot<L>, word: &EventWord) {
        // The locks come before PENDING, and stay until the port is in its queue: nobody is woken for a port the guest
        // cannot see yet.
        let Some(mut queues) = fifo.lock_queues(slot) else { return fifo.count_dropped() };
        let vcpu = queues.route.vcpu;
        let Some(control) = fifo.control(host, vcpu) else {
            // The guest must not unmask before it sets up the vCPU, so there is no queue to put the port into.
            let was_pending = word.0.fetch_or(PENDING, Ordering::AcqRel) & PENDING != 0;
            drop(queues);
            if !was_pending {
                self.wake_pollers(host, port);
            }
            return;
        };
        let raised = raise(word);
        let is_new_head = raised.to_link && enqueue(host, fifo, slot, port, &mut queues, control);
        let route = queues.route;
        drop(queues);
        if is_new_head {
            let bit = 1 << route.priority.number();
            if control.ready.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
                self.mark_pending(host, vcpu);
            }
        }
        if !raised.was_pending {
            self.wake_pollers(host, port);
        }
    }

    /// Clears a port's mask, and puts it into its queue if an event was waiting behind it.
    pub(crate) fn fifo_unmask<H: Host<Lock = L>>(&self, host: &H, fifo: &Fifo<L>, port: Port, slot: &Slot<L>) {
        let Some(word) = fifo.word(host, port) else { return };
        word.0.fetch_and(!MASKED, Ordering::SeqCst);
        change_before_look();
        if word.load(Ordering::SeqCst).pending() {
            self.fifo_set_pending(host, fifo, port, slot);
        }
    }
}

/// Whether an event changes nothing: the port is pending, and whoever clears that will look for events afterwards.
fn is_absorbed(word: &EventWord) -> bool {
    let absorbs = || {
        let seen = word.load(Ordering::Acquire);
        seen.pending() && (seen.linked() || seen.masked())
    };
    absorbs() && {
        // What the sender wrote before must be visible to a guest that clears PENDING after this look.
        fence(Ordering::SeqCst);
        absorbs()
    }
}

/// Puts a port whose word has just become LINKED at its queue's end; whether it is the queue's head, so that the guest
/// must be told.
fn enqueue<H: Host, L: RawMutex>(
    host: &H,
    fifo: &Fifo<L>,
    slot: &Slot<L>,
    port: Port,
    queues: &mut Locked<'_, L>,
    control: &ControlBlock,
) -> bool {
    // A port that was its queue's tail has left it, and the queue is empty: nothing may be linked after the port there.
    if let Some(mut old) = queues.old.take() {
        if old.0 == port {
            old.0 = Port(0);
        }
        slot.set_last_queue(queues.route);
    }
    let tail = queues.tail.0;
    let appended = match tail {
        Port(0) => Append::Empty,
        own if own == port => Append::Empty,
        other => fifo.word(host, other).map_or(Append::Empty, |word| append(word, port)),
    };
    queues.tail.0 = port;
    match appended {
        Append::Linked => false,
        Append::GivenUp => {
            fifo.count_dropped();
            false
        }
        Append::Empty => {
            control.head[queues.route.priority.index()].store(port.0, Ordering::Release);
            true
        }
    }
}

impl<L: RawMutex> Fifo<L> {
    /// Locks the queue a port goes to and the one it was in last, in the order of their ranks; `None` if the port is moved
    /// faster than the locks are taken.
    fn lock_queues(&self, slot: &Slot<L>) -> Option<Locked<'_, L>> {
        for _ in 0..QUEUE_TRIES {
            let (route, last) = (slot.route(), slot.last_queue());
            let queue = self.queue(route)?;
            let locked = if route == last {
                Locked { route, tail: queue.lock(), old: None }
            } else if route.rank() < last.rank() {
                let tail = queue.lock();
                Locked { route, tail, old: Some(self.queue(last)?.lock()) }
            } else {
                let old = self.queue(last)?.lock();
                Locked { route, tail: queue.lock(), old: Some(old) }
            };
            if (slot.route(), slot.last_queue()) == (route, last) {
                return Some(locked);
            }
        }
        None
    }
}
