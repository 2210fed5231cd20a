//! The conformance suite (`tests/conformance`) on the hypervisor below: the guest is its first domain, dom0 the privileged one.

use core::cell::RefCell;

use carillon_conformance as suite;
use carillon_conformance::Bed;
use carillon_conformance::ForeignVirqs;
use carillon_conformance::Ports;
use carillon_conformance::Who;
use guest_shim::Admission;
use guest_shim::Found;
use guest_shim::Hypercalls;
use guest_shim::Version;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::sync::Ordering::SeqCst;

use crate::bed;
use crate::bed::Abi;
use crate::bed::FIRST;
use crate::bed::FifoAbi;
use crate::bed::SECOND;
use crate::cases::far;
use crate::machine::on_xen;
use crate::machine::own_domain;
use crate::mailbox::MAILBOX;
use crate::memory;
use crate::memory::SHARED_INFO;

/// The last release seen to give a guest ports for global virtual IRQs that it does not handle.
const LAST_SILENT: Version = Version { major: 4, minor: 17 };

/// This guest and dom0, and the far guest if it was told to [begin](far::begin), on the hypervisor they run on.
pub(super) struct Real<A: Abi> {
    abi: A,
    queues: [RefCell<A::Queues>; 2],
}

impl<A: Abi> Real<A> {
    /// Nothing is bound, and nothing masked or pending.
    pub(super) fn new() -> Self {
        bed::reset();
        let abi = A::new();
        abi.restart();
        let queues = [FIRST, SECOND].map(|vcpu| {
            let attached = abi.attach(&on_xen().hypervisor, vcpu, A::pages(vcpu));
            RefCell::new(attached.expect("a vCPU's queues can be set up"))
        });
        for (pending, mask) in SHARED_INFO.evtchn_pending.iter().zip(&SHARED_INFO.evtchn_mask) {
            pending.store(0, SeqCst);
            mask.store(0, SeqCst);
        }
        for word in memory::arrays().iter().flat_map(|page| &page.words.0) {
            word.0.store(0, SeqCst);
        }
        Self { abi, queues }
    }
}

impl<A: Abi> Bed for Real<A> {
    fn abi(&self) -> suite::Abi {
        A::IN_SUITE
    }

    fn number(&self, who: Who) -> u16 {
        match who {
            Who::Dom0 => 0,
            Who::One => own_domain().0,
            Who::Two => far::domain().0,
        }
    }

    fn foreign_virqs(&self) -> ForeignVirqs {
        if on_xen().xen.version <= LAST_SILENT { ForeignVirqs::Silent } else { ForeignVirqs::Refused }
    }

    fn call(&self, caller: Who, op: EventOp, argument: &mut [u8]) -> i64 {
        match caller {
            Who::Dom0 => MAILBOX.event_channel_op(op, argument),
            Who::One => on_xen().hypervisor.event_channel_op(op, argument),
            Who::Two => far::event_channel_op(op, argument),
        }
    }

    fn mask(&self, who: Who, port: u32) {
        assert_eq!(who, Who::One, "no other domain's ports are masked");
        self.abi.mask(hypervisor_abi::Port(port));
    }

    fn consume(&self, who: Who, vcpu: u32) -> Ports {
        if who == Who::Two {
            return far::consume(vcpu);
        }
        let vcpu = VcpuId(vcpu);
        let (info, mut queues) = (bed::info(vcpu), self.queues[vcpu.index()].borrow_mut());
        info.evtchn_upcall_pending.store(0, SeqCst);
        self.abi.begin(info, &mut queues);
        let mut ports = Ports::new();
        while let Some(visit) = self.abi.next(&mut queues, |_| Admission::Early) {
            if visit.event == Found::Event {
                ports.push(visit.port.0).expect("no more than the suite makes pending");
            }
        }
        ports
    }

    fn spare_frames(&self) -> [u64; 2] {
        memory::spare_frames()
    }
}

/// Names the parts of the suite as cases.
macro_rules! cases {
    ($($part:ident$(($argument:expr))?,)*) => {
        $(pub(super) fn $part<A: Abi>() {
            suite::$part(&Real::<A>::new() $(, $argument)?);
        })*
    };
}

cases! {
    connections(Who::One),
    moves,
    offers,
    offers_for_others,
    interrupts,
    foreign_virqs,
    masks,
    refusals,
    limits,
    reset,
}

/// The part of the suite that only queues have.
pub(super) fn queues() {
    suite::queues(&Real::<FifoAbi>::new());
}
