//! An interrupt source as its domain sees it (Xen: pirq and event channel), a few words each.

use vector_allocator::Vector;

use crate::SourceIndex;
use crate::Span;
use crate::events::Channel;

/// A table index, or none: four bytes where an `Option` would take eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(u32);

impl Link {
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The link to `index`, which a table of less than 2^32 − 1 entries has.
    pub(crate) const fn to(index: u32) -> Self {
        Self(index)
    }

    pub(crate) const fn get(self) -> Option<u32> {
        if self.0 == u32::MAX { None } else { Some(self.0) }
    }
}

/// A source's state on the domain's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// How long the handler takes that its path names.
    pub(crate) handler: Span,
    /// The vCPU that handles it; none if the hypervisor does.
    pub(crate) vcpu: Link,
    /// Its physical interrupt; none for posted ones and software events.
    pub(crate) irq: Link,
    /// The next in the queue it waits in.
    next: Link,
    /// Its port and who sends to it, for event channels.
    pub(crate) channel: Channel,
    /// The next source on the same line.
    pub(crate) sharer: Link,
    /// The vector in the guest's numbering, for vectored paths.
    pub(crate) guest_vector: Option<Vector>,
    pub(crate) route: Route,
    /// It waits in its CPU's softirq queue.
    pub(crate) is_queued: bool,
    /// Its domain owes an EOI (Xen: `pirq->masked`).
    pub(crate) owes_eoi: bool,
    /// Its device asserts a level and its handler has not run yet.
    pub(crate) is_asserting: bool,
    /// The guest masks its virtual IO-APIC pin.
    pub(crate) is_guest_masked: bool,
    /// It waits behind that mask.
    pub(crate) is_held: bool,
}

/// A path without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Uninterruptible,
    Interruptible,
    EventChannel,
    Remapped,
    Posted,
    Ipi,
}

impl Source {
    pub(crate) const fn new(route: Route, handler: Span, vcpu: Link) -> Self {
        Self {
            handler,
            vcpu,
            irq: Link::NONE,
            next: Link::NONE,
            channel: Channel::NONE,
            sharer: Link::NONE,
            guest_vector: None,
            route,
            is_queued: false,
            owes_eoi: false,
            is_asserting: false,
            is_guest_masked: false,
            is_held: false,
        }
    }
}

/// A queue of sources, first in first out, linked through the sources themselves: no allocation, and 131072 of them cost
/// four bytes each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceQueue {
    head: Link,
    tail: Link,
}

impl SourceQueue {
    pub(crate) const EMPTY: Self = Self { head: Link::NONE, tail: Link::NONE };

    pub(crate) const fn is_empty(&self) -> bool {
        self.head.get().is_none()
    }

    /// Appends `source` unless it waits already; whether it did not.
    pub(crate) fn push(&mut self, sources: &mut [Source], source: SourceIndex) -> bool {
        let entry = &mut sources[source.0 as usize];
        if core::mem::replace(&mut entry.is_queued, true) {
            return false;
        }
        entry.next = Link::NONE;
        match self.tail.get() {
            Some(tail) => sources[tail as usize].next = Link::to(source.0),
            None => self.head = Link::to(source.0),
        }
        self.tail = Link::to(source.0);
        true
    }

    /// Takes out the one that waited longest.
    pub(crate) fn pop(&mut self, sources: &mut [Source]) -> Option<SourceIndex> {
        let head = self.head.get()?;
        let entry = &mut sources[head as usize];
        entry.is_queued = false;
        self.head = entry.next;
        if self.head.get().is_none() {
            self.tail = Link::NONE;
        }
        Some(SourceIndex(head))
    }

    /// How many wait; for checks.
    pub(crate) fn count(&self, sources: &[Source]) -> usize {
        core::iter::successors(self.head.get(), |at| sources[*at as usize].next.get()).take(sources.len() + 1).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::proptest;

    use super::Link;
    use super::Route;
    use super::Source;
    use super::SourceQueue;
    use crate::SourceIndex;
    use crate::Span;

    proptest! {
        #[test]
        fn a_queue_agrees_with_a_plain_one_and_takes_each_source_once(steps in vec(option::of(0u32..8), 0..200)) {
            let mut sources = [Source::new(Route::Remapped, Span(0), Link::NONE); 8];
            let mut queue = SourceQueue::EMPTY;
            let mut plain = VecDeque::new();
            for step in steps {
                match step.map(SourceIndex) {
                    Some(source) => {
                        let new = !plain.contains(&source);
                        assert_eq!(queue.push(&mut sources, source), new);
                        if new {
                            plain.push_back(source);
                        }
                    }
                    None => assert_eq!(queue.pop(&mut sources), plain.pop_front()),
                }
                assert_eq!(queue.count(&sources), plain.len());
                assert_eq!(queue.is_empty(), plain.is_empty());
            }
        }
    }

    #[test]
    fn a_port_takes_at_most_forty_bytes() {
        assert!(size_of::<Source>() <= 40);
    }
}
