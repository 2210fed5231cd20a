//! The FIFO ABI's producer (`public/event_channel.h`): event words, and 16 queues a vCPU.
//!
//! ```text
//! control block       ready  ........1.......   head[7] = 3
//! event words             3: P.L. link 9 ──► 9: P.L. link 4 ──► 4: P.L. link 0
//! host, queue 7                                        tail = 4
//! ```
//!
//! The guest takes ports off at the head by clearing `LINKED` and the link together; the host appends at the tail. The
//! queue's lock is the host's alone. What both sides touch at once is the tail's word: the host links a port after it only
//! by a compare-and-exchange that finds it still `LINKED`; if the guest was faster the queue is empty, and the port becomes
//! its head. Only then, never for a port that was appended, the queue is said to be ready (R-04).
//!
//! Everything in the guest's pages may be wrong. Links are never followed here; the tail is the host's own note; each loop
//! has a bound.

mod cell;
mod check;
mod link;
mod produce;
#[cfg(all(test, not(loom)))]
mod restless;
mod set_up;

use alloc::boxed::Box;
use core::array;
use core::iter;

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EVENT_WORDS_PER_PAGE;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::FIFO_QUEUES;
use hypervisor_abi::event::MAX_EVENT_ARRAY_PAGES;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use lock_api::Mutex;
use lock_api::RawMutex;

use super::memory::GuestMemory;
use super::memory::PinCell;
use super::slot::Route;

/// A domain's FIFO state, for all its vCPUs at once (R-01, XSA-107).
pub(crate) struct Fifo<L: RawMutex> {
    pages: [PinCell<EventArray>; MAX_EVENT_ARRAY_PAGES],
    /// By vCPU.
    controls: Box<[PinCell<ControlBlock>]>,
    /// By vCPU.
    queues: Box<[VcpuQueues<L>]>,
    /// Events given up because a port was moved between queues too often meanwhile, or its guest would not let go of a
    /// word.
    dropped: AtomicU32,
}

/// One vCPU's queues, by priority.
///
/// They share their cache lines (two: adjacent lines are fetched together) with each other and with no other vCPU. Senders
/// to one vCPU meet in its control block and its block in shared memory anyway, so a line for each queue would gain them
/// little and cost every vCPU two kibibytes.
#[repr(align(128))]
struct VcpuQueues<L: RawMutex>([Queue<L>; FIFO_QUEUES]);

/// One queue: its tail.
type Queue<L> = Mutex<L, Tail>;

/// The port that was appended last; port 0 if that is no longer known to be in this queue.
#[derive(Clone, Copy, Debug, Default)]
struct Tail(Port);

impl<L: RawMutex> Fifo<L> {
    pub(crate) fn new(vcpus: usize) -> Self {
        Self {
            pages: array::from_fn(|_| PinCell::empty()),
            controls: iter::repeat_with(PinCell::empty).take(vcpus).collect(),
            queues: iter::repeat_with(VcpuQueues::new).take(vcpus).collect(),
            dropped: AtomicU32::new(0),
        }
    }

    /// A port's event word; `None` while its page is missing. Page and word come from the same bounded index (R-19).
    pub(crate) fn word<'m>(&self, memory: &'m impl GuestMemory, port: Port) -> Option<&'m EventWord> {
        let page = self.pages.get(port.index() / EVENT_WORDS_PER_PAGE)?.get(memory)?;
        Some(&page.0[port.index() % EVENT_WORDS_PER_PAGE])
    }

    fn queue(&self, route: Route) -> Option<&Queue<L>> {
        self.queues.get(route.vcpu.index()).map(|queues| &queues.0[route.priority.index()])
    }

    fn control<'m>(&self, memory: &'m impl GuestMemory, vcpu: VcpuId) -> Option<&'m ControlBlock> {
        self.controls.get(vcpu.index())?.get(memory)
    }

    /// How many events were given up.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl<L: RawMutex> VcpuQueues<L> {
    fn new() -> Self {
        Self(array::from_fn(|_| Mutex::new(Tail::default())))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use parking_lot::RawMutex;

    use super::VcpuQueues;

    #[test]
    fn a_vcpus_queues_cost_the_host_128_bytes() {
        assert_eq!(size_of::<VcpuQueues<RawMutex>>(), 128);
    }
}
