//! A domain's ports: pages of slots that are allocated when first needed and stay until the domain is gone.
//!
//! A page is published by one store-release and found by one load-acquire, so a sender without the event lock sees either
//! no page or one whose slots are all initialised (R-15, XSA-340).

use alloc::boxed::Box;
use core::iter;

use hypervisor_abi::Port;
use lock_api::RawMutex;
use once_cell::race::OnceBox;

use super::slot::Slot;

/// How many ports share an allocation; as in Xen, the ports of an allocation become valid numbers together.
pub(crate) const PORTS_PER_BUCKET: usize = 64;

/// All the ports a domain has used so far.
pub(crate) struct Ports<L: RawMutex> {
    buckets: Box<[OnceBox<[Slot<L>; PORTS_PER_BUCKET]>]>,
}

impl<L: RawMutex> Ports<L> {
    /// Room for ports 0 to `max_port`; none exists yet.
    pub(crate) fn new(max_port: u32) -> Self {
        let buckets = Port(max_port).index() / PORTS_PER_BUCKET + 1;
        Self { buckets: iter::repeat_with(OnceBox::new).take(buckets).collect() }
    }

    /// The slot of a port; `None` for a number beyond those used so far.
    pub(crate) fn get(&self, port: Port) -> Option<&Slot<L>> {
        let index = port.index();
        self.buckets.get(index / PORTS_PER_BUCKET)?.get().map(|bucket| &bucket[index % PORTS_PER_BUCKET])
    }

    /// The slot of a port below the limit, allocated if need be. The caller holds the event lock.
    pub(crate) fn get_or_allocate(&self, port: Port) -> Option<&Slot<L>> {
        let index = port.index();
        let bucket = self.buckets.get(index / PORTS_PER_BUCKET)?;
        let bucket = bucket.get_or_init(|| {
            let slots: Box<[Slot<L>]> = iter::repeat_with(Slot::free).take(PORTS_PER_BUCKET).collect();
            slots.try_into().unwrap_or_else(|_| unreachable!("the slice was made with the array's length"))
        });
        Some(&bucket[index % PORTS_PER_BUCKET])
    }

    /// The slots of `ports` that exist, ascending.
    pub(crate) fn existing(&self, ports: core::ops::Range<u32>) -> impl Iterator<Item = (Port, &Slot<L>)> {
        ports.map_while(|number| self.get(Port(number)).map(|slot| (Port(number), slot)))
    }
}
