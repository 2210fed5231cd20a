//! Making a port pending and putting it into its vCPU's queue.

use hypervisor_abi::Port;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::EventWordValue;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use hypervisor_abi::sync::fence;
use lock_api::Mutex;
use lock_api::MutexGuard;
use lock_api::RawMutex;

use super::Fifo;
use super::Tail;
use super::link::Append;
use super::link::append;
use super::link::raise;
use crate::event::domain::Domain;
use crate::event::domain::Era;
use crate::event::host::Host;
use crate::event::slot::Route;
use crate::event::slot::Slot;
use crate::event::slot::SlotGuard;
use crate::event::slot::Source;
use crate::event::vcpu::Vcpu;

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

/// What raising a port touches, looked up before its queue is locked.
struct Reach<'a> {
    word: &'a EventWord,
    /// What the word was then.
    seen: EventWordValue,
    control: &'a ControlBlock,
    vcpu: &'a Vcpu,
}

impl<L: RawMutex> Domain<L> {
    /// Makes a port pending. The caller has made sure that it stays open meanwhile. An event for which there is no event
    /// word yet is kept for the page that brings it.
    pub(crate) fn fifo_set_pending<H: Host<Lock = L>>(&self, host: &H, fifo: &Fifo<L>, port: Port, slot: Slot<'_, L>) {
        let word = fifo.word(host, port).or_else(|| {
            slot.keep_unraised();
            // The page may have come between the look and the note; then whoever takes the note first raises the event.
            fence(Ordering::SeqCst);
            fifo.word(host, port).filter(|_| slot.take_unraised())
        });
        let Some(word) = word else { return };
        let seen = word.load(Ordering::Acquire);
        if is_absorbed(word, seen) {
            return;
        }
        let Some(queues) = fifo.lock_queues(slot) else { return fifo.count_dropped() };
        match self.reach(host, fifo, queues.route, word, seen) {
            Some(reach) => self.raise_into(host, fifo, port, slot, &reach, queues),
            None => {
                // The guest must not unmask before it sets up the vCPU, so there is no queue to put the port into.
                let was_pending = word.0.fetch_or(PENDING, Ordering::AcqRel) & PENDING != 0;
                drop(queues);
                if !was_pending {
                    self.wake_pollers(host, port);
                }
            }
        }
    }

    /// Makes a port pending if that is an ordinary matter; else `false`. The caller holds no lock.
    #[inline]
    pub(crate) fn fifo_try_raise<H: Host<Lock = L>>(
        &self,
        host: &H,
        port: Port,
        slot: Slot<'_, L>,
        era: Era,
        source: Source<'_, L>,
    ) -> bool {
        let Some(fifo) = self.fifo.get() else { return false };
        let Some(word) = fifo.word(host, port) else { return false };
        let seen = word.load(Ordering::Acquire);
        if is_absorbed(word, seen) {
            return true;
        }
        let (bound, last) = (slot.bound(), slot.last_queue());
        let route = bound.route();
        let (Some(queue), Some(reach)) = (fifo.queue(route), self.reach(host, fifo, route, word, seen)) else {
            return false;
        };
        if bound.consumer().is_some() || route != last {
            return false;
        }
        let queues = Locked { route, tail: queue.lock(), old: None };
        // From here on nobody closes or moves the port, but it may have been closed, moved or opened again before; even the
        // ABI and its pages may be others.
        let is_same = slot.bound() == bound && slot.last_queue() == last && self.era() == era;
        if !is_same || !source.is_unchanged() {
            return false;
        }
        self.raise_into(host, fifo, port, slot, &reach, queues);
        true
    }

    /// What raising a port touches; `None` without a control block, or for a vCPU that does not exist.
    #[inline]
    fn reach<'a, H: Host<Lock = L>>(
        &'a self,
        host: &'a H,
        fifo: &Fifo<L>,
        route: Route,
        word: &'a EventWord,
        seen: EventWordValue,
    ) -> Option<Reach<'a>> {
        let control = fifo.control(host, route.vcpu)?;
        Some(Reach { word, seen, control, vcpu: self.vcpus.get(route.vcpu.index())? })
    }

    /// Makes a port pending and puts it into its queue.
    #[inline(always)]
    fn raise_into<H: Host<Lock = L>>(
        &self,
        host: &H,
        fifo: &Fifo<L>,
        port: Port,
        slot: Slot<'_, L>,
        reach: &Reach<'_>,
        mut queues: Locked<'_, L>,
    ) {
        // The lock comes before PENDING, and stays until the guest has been told: nobody is woken for a port that the guest
        // cannot see yet, and no page of the guest's is written any more when a port is closed.
        let route = queues.route;
        let raised = raise(reach.word, reach.seen);
        let is_new_head = raised.to_link && enqueue(host, fifo, slot, port, &mut queues, reach.control);
        let is_first = is_new_head && {
            let bit = 1 << route.priority.number();
            let was_clear = reach.control.ready.fetch_or(bit, Ordering::AcqRel) & bit == 0;
            // The block is looked up only now: a guest that registers another one meanwhile has it told that all is pending.
            let info = || self.info_of(host, route.vcpu, reach.vcpu);
            was_clear && info().is_some_and(|info| info.raise_upcall())
        };
        drop(queues);
        if is_first {
            self.call(host, route.vcpu);
        }
        if !raised.was_pending {
            self.wake_pollers(host, port);
        }
    }

    /// Clears a port's mask, and puts it into its queue if an event was waiting behind it.
    pub(crate) fn fifo_unmask<H: Host<Lock = L>>(&self, host: &H, fifo: &Fifo<L>, port: Port, slot: Slot<'_, L>) {
        let Some(word) = fifo.word(host, port) else { return };
        word.0.fetch_and(!MASKED, Ordering::SeqCst);
        change_before_look();
        if word.load(Ordering::SeqCst).pending() {
            self.fifo_set_pending(host, fifo, port, slot);
        }
    }

    /// Waits until no sender is at work in the queue a port goes to. One that comes later finds what the caller has changed
    /// in the ports' words.
    pub(crate) fn await_senders(&self, slot: Slot<'_, L>) {
        if let Some(queue) = self.fifo_in_use().and_then(|fifo| fifo.queue(slot.route())) {
            drop(queue.lock());
        }
    }

    /// Changes where a port's events go, while no sender is at work in the queue they went to.
    pub(crate) fn reroute(&self, guard: &mut SlotGuard<'_, L>, route: Route) {
        let queue = self.fifo_in_use().and_then(|fifo| fifo.queue(guard.bound().route()));
        let _tail = queue.map(Mutex::lock);
        guard.set_route(route);
    }
}

/// Whether an event changes nothing at a word that was `seen` a moment ago: the port is pending, and whoever clears that
/// will look for events afterwards.
#[inline]
fn is_absorbed(word: &EventWord, seen: EventWordValue) -> bool {
    let absorbs = |seen: EventWordValue| seen.pending() && (seen.linked() || seen.masked());
    absorbs(seen) && {
        // What the sender wrote before must be visible to a guest that clears PENDING after this look.
        fence(Ordering::SeqCst);
        absorbs(word.load(Ordering::Acquire))
    }
}

/// Puts a port whose word has just become LINKED at its queue's end; whether it is the queue's head, so that the guest
/// must be told.
fn enqueue<H: Host, L: RawMutex>(
    host: &H,
    fifo: &Fifo<L>,
    slot: Slot<'_, L>,
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
    fn lock_queues(&self, slot: Slot<'_, L>) -> Option<Locked<'_, L>> {
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
