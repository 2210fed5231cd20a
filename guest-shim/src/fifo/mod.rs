//! The FIFO ABI, taken from: an event word a port, and 16 queues a vCPU.
//!
//! ```text
//! control block       ready  ........1.......   head[7] = 3
//! event words             3: P.L. link 9 ──► 9: P.L. link 4 ──► 4: P.L. link 0
//! vCPU, queue 7       head 3      then 9              then 4           then the queue is empty
//! ```
//!
//! A port is taken off its queue by clearing `LINKED` and its link together; the link says which port comes next. Once it
//! is 0 the queue is empty: what the hypervisor queues afterwards it announces by a new head and a bit of `ready`.

mod word;

use core::marker::PhantomData;

use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EVENT_WORDS_PER_PAGE;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::ExpandArray;
use hypervisor_abi::event::FIFO_QUEUES;
use hypervisor_abi::event::InitControl;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;

use self::word::take;
use self::word::unmask;
use crate::abi::Admission;
use crate::abi::ControlPage;
use crate::abi::EventAbi;
use crate::abi::Found;
use crate::abi::Unmasked;
use crate::abi::VcpuInfoOf;
use crate::abi::Visit;
use crate::hypercall::Calls;
use crate::hypercall::Hypercalls;
use crate::hypercall::Object;
use crate::hypercall::Refused;
use crate::layout::SharedInfo;
use crate::set_up::Gfn;

/// One of the guest's pages for event words.
#[derive(Clone, Copy, Debug)]
pub struct ArrayPage<'a> {
    /// The page.
    pub words: &'a EventArray,
    /// Its frame.
    pub gfn: Gfn,
}

/// The FIFO ABI over the pages a guest sets aside: one for each 1024 ports it wants to be able to use, 128 at most.
#[derive(Debug)]
pub struct Fifo<'a, S: SharedInfo = SharedInfo64> {
    pages: &'a [ArrayPage<'a>],
    /// How many pages the hypervisor has got; the words of these may be used.
    given: AtomicU32,
    /// Not 0: the first vCPU to be set up has taken it upon itself to give them.
    giving: AtomicU32,
    layout: PhantomData<fn() -> S>,
}

/// A vCPU's queues, as far as it has taken them.
#[derive(Debug)]
pub struct Queues<'a> {
    control: &'a ControlBlock,
    /// Bit *p*: queue *p* may have ports.
    ready: u32,
    /// The next port of each queue; 0: the control block has it.
    heads: [Port; FIFO_QUEUES],
}

impl<'a, S: SharedInfo> Fifo<'a, S> {
    /// The ABI over the pages set aside, in the order of their ports.
    #[must_use]
    pub fn new(pages: &'a [ArrayPage<'a>]) -> Self {
        Self { pages, given: AtomicU32::new(0), giving: AtomicU32::new(0), layout: PhantomData }
    }

    /// A port's word, if the hypervisor has got its page.
    #[inline]
    fn word(&self, port: Port) -> Option<&'a EventWord> {
        let page = port.index() / EVENT_WORDS_PER_PAGE;
        if page >= Port(self.given.load(Ordering::Acquire)).index() {
            return None;
        }
        Some(&self.pages.get(page)?.words.0[port.index() % EVENT_WORDS_PER_PAGE])
    }

    /// Gives the hypervisor all pages, every port in them masked.
    fn give_pages(&self, hypercalls: &impl Hypercalls) -> Result<(), Refused> {
        for (page, given) in self.pages.iter().zip(1..) {
            for word in &page.words.0 {
                word.0.store(MASKED, Ordering::Release);
            }
            let mut argument = ExpandArray { array_gfn: page.gfn.0 };
            hypercalls.event(EventOp::ExpandArray, Object::Frame(page.gfn.0), &mut argument)?;
            self.given.store(given, Ordering::Release);
        }
        Ok(())
    }
}

impl<'a, S: SharedInfo> EventAbi for Fifo<'a, S> {
    type Shared = S;
    type Pages = ControlPage<'a>;
    type Queues = Queues<'a>;

    fn restart(&self) {
        self.given.store(0, Ordering::Release);
        self.giving.store(0, Ordering::Release);
    }

    fn attach(
        &self,
        hypercalls: &impl Hypercalls,
        vcpu: VcpuId,
        ControlPage { block, place }: ControlPage<'a>,
    ) -> Result<Queues<'a>, Refused> {
        block.ready.store(0, Ordering::Release);
        block.head.iter().for_each(|head| head.store(0, Ordering::Release));
        let mut argument =
            InitControl { control_gfn: place.gfn.0, offset: place.offset, vcpu: vcpu.0, ..InitControl::default() };
        hypercalls.event(EventOp::InitControl, Object::Vcpu(vcpu.0), &mut argument)?;
        if self.giving.swap(1, Ordering::AcqRel) == 0 {
            self.give_pages(hypercalls).inspect_err(|_| self.giving.store(0, Ordering::Release))?;
        }
        Ok(Queues { control: block, ready: 0, heads: [Port(0); FIFO_QUEUES] })
    }

    fn has(&self, port: Port) -> bool {
        self.word(port).is_some()
    }

    fn mask(&self, port: Port) {
        if let Some(word) = self.word(port) {
            word.0.fetch_or(MASKED, Ordering::SeqCst);
        }
    }

    fn unmask(&self, port: Port) -> Unmasked {
        self.word(port).map_or(Unmasked::Done, unmask)
    }

    fn is_pending(&self, port: Port) -> bool {
        self.word(port).is_some_and(|word| word.load(Ordering::Acquire).pending())
    }

    fn is_masked(&self, port: Port) -> bool {
        self.word(port).is_none_or(|word| word.load(Ordering::Acquire).masked())
    }

    fn begin(&self, _: &VcpuInfoOf<Self>, queues: &mut Queues<'a>) {
        // Always the exchange, also where nothing is ready: it keeps the clearing of `upcall_pending` before it.
        queues.ready |= queues.control.ready.swap(0, Ordering::AcqRel);
    }

    fn next(&self, queues: &mut Queues<'a>, mut admit: impl FnMut(Port) -> Admission) -> Option<Visit> {
        let (queue, port) = queues.first()?;
        let Some(word) = self.word(port).filter(|_| port != Port(0)) else {
            // Nothing that was ever ours: the queue's announcement was wrong.
            queues.end(queue);
            return Some(Visit { port, admission: Admission::Aside, event: Found::Nothing });
        };
        let admission = admit(port);
        let (next, event) = take(word, admission);
        match next {
            Port(0) => queues.end(queue),
            next => queues.heads[queue] = next,
        }
        Some(Visit { port, admission, event })
    }
}

impl Queues<'_> {
    /// The first port of the first queue that has any; what became ready meanwhile goes before a queue it outranks.
    #[inline]
    fn first(&mut self) -> Option<(usize, Port)> {
        if self.control.ready.load(Ordering::Relaxed) != 0 {
            self.ready |= self.control.ready.swap(0, Ordering::AcqRel);
        }
        let queue = Port(self.ready.trailing_zeros()).index();
        let head = *self.heads.get(queue)?;
        Some((queue, if head == Port(0) { Port(self.control.head[queue].load(Ordering::Acquire)) } else { head }))
    }

    /// A queue is empty until the hypervisor announces a new head.
    #[inline]
    fn end(&mut self, queue: usize) {
        self.ready &= !(1 << queue);
        self.heads[queue] = Port(0);
    }
}
