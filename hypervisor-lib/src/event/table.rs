//! A domain's ports: pages of slots that are allocated when first needed and stay until the domain is gone.
//!
//! A page is published by one store-release and found by one load-acquire, so a sender without the event lock sees either
//! no page or one whose slots are all initialised (R-15, XSA-340).

use alloc::boxed::Box;
use core::array;
use core::iter;

use hypervisor_abi::Port;
use lock_api::RawMutex;
use once_cell::race::OnceBox;

use super::slot::Notes;
use super::slot::Slot;
use super::slot::Word;

/// How many ports share an allocation; as in Xen, the ports of an allocation become valid numbers together.
pub(crate) const PORTS_PER_BUCKET: usize = 64;

/// The ports of an allocation. Their words lie together: a sender reads nothing else of its own port.
struct Bucket<L: RawMutex> {
    words: [Word; PORTS_PER_BUCKET],
    notes: [Notes<L>; PORTS_PER_BUCKET],
}

/// All the ports a domain has used so far.
pub(crate) struct Ports<L: RawMutex> {
    buckets: Box<[OnceBox<Bucket<L>>]>,
}

impl<L: RawMutex> Bucket<L> {
    fn new() -> Self {
        Self { words: array::from_fn(|_| Word::free()), notes: array::from_fn(|_| Notes::new()) }
    }

    #[inline]
    fn slot(&self, port: Port) -> Slot<'_, L> {
        let index = port.index() % PORTS_PER_BUCKET;
        Slot::new(&self.words[index], &self.notes[index])
    }
}

impl<L: RawMutex> Ports<L> {
    /// Room for ports 0 to `max_port`; none exists yet.
    pub(crate) fn new(max_port: u32) -> Self {
        let buckets = Port(max_port).index() / PORTS_PER_BUCKET + 1;
        Self { buckets: iter::repeat_with(OnceBox::new).take(buckets).collect() }
    }

    /// The slot of a port; `None` for a number beyond those used so far.
    #[inline]
    pub(crate) fn get(&self, port: Port) -> Option<Slot<'_, L>> {
        Some(self.buckets.get(port.index() / PORTS_PER_BUCKET)?.get()?.slot(port))
    }

    /// The slot of a port below the limit, allocated if need be. The caller holds the event lock.
    pub(crate) fn get_or_allocate(&self, port: Port) -> Option<Slot<'_, L>> {
        let bucket = self.buckets.get(port.index() / PORTS_PER_BUCKET)?;
        Some(bucket.get_or_init(|| Box::new(Bucket::new())).slot(port))
    }

    /// The slots of `ports` that exist, ascending.
    pub(crate) fn existing(&self, ports: core::ops::Range<u32>) -> impl Iterator<Item = (Port, Slot<'_, L>)> {
        ports.map_while(|number| self.get(Port(number)).map(|slot| (Port(number), slot)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use parking_lot::RawMutex;

    use super::Bucket;
    use super::PORTS_PER_BUCKET;

    #[test]
    fn a_port_costs_the_host_12_bytes() {
        assert_eq!(size_of::<Bucket<RawMutex>>(), 12 * PORTS_PER_BUCKET);
    }
}
