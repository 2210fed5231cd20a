//! The operations as functions, for tests that read like the specification.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Virq;
use hypervisor_abi::event::AllocUnbound;
use hypervisor_abi::event::BindInterdomain;
use hypervisor_abi::event::BindIpi;
use hypervisor_abi::event::BindPirq;
use hypervisor_abi::event::BindVcpu;
use hypervisor_abi::event::BindVirq;
use hypervisor_abi::event::Close;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::Send;
use hypervisor_abi::event::SetPriority;
use hypervisor_abi::event::Status;
use hypervisor_abi::event::Unmask;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use crate::bed::Bed;
use crate::bed::Who;

/// The caller's own domain, in arguments.
pub(crate) const SELF: u16 = DomainId::SELF.0;
/// A domain that does not exist.
pub(crate) const NOBODY: u16 = 0x7e00;

/// A domain that issues hypercalls.
pub(crate) struct Caller<'b, B>(pub(crate) &'b B, pub(crate) Who);

impl<B: Bed> Caller<'_, B> {
    /// Issues a call; the argument with its results.
    pub(crate) fn call<A: FromBytes + IntoBytes>(&self, op: EventOp, mut argument: A) -> Result<A, Errno> {
        let result = self.0.call(self.1, op, argument.as_mut_bytes());
        if result >= 0 {
            return Ok(argument);
        }
        Err(Errno::from_hypercall_result(result).unwrap_or_else(|| panic!("{op:?} gave {result}")))
    }

    /// Issues a call that has no results.
    pub(crate) fn done<A: FromBytes + IntoBytes>(&self, op: EventOp, argument: A) -> Result<(), Errno> {
        self.call(op, argument).map(|_| ())
    }

    pub(crate) fn alloc_unbound(&self, dom: u16, remote_dom: u16) -> Result<u32, Errno> {
        let argument = AllocUnbound { dom, remote_dom, port: 0 };
        self.call(EventOp::AllocUnbound, argument).map(|result| result.port)
    }

    pub(crate) fn bind_interdomain(&self, remote_dom: u16, remote_port: u32) -> Result<u32, Errno> {
        let argument = BindInterdomain { remote_dom, remote_port, ..BindInterdomain::default() };
        self.call(EventOp::BindInterdomain, argument).map(|result| result.local_port)
    }

    pub(crate) fn bind_virq(&self, virq: Virq, vcpu: u32) -> Result<u32, Errno> {
        self.bind_virq_number(u32::from(virq.number()), vcpu)
    }

    pub(crate) fn bind_virq_number(&self, virq: u32, vcpu: u32) -> Result<u32, Errno> {
        self.call(EventOp::BindVirq, BindVirq { virq, vcpu, port: 0 }).map(|result| result.port)
    }

    pub(crate) fn bind_pirq(&self, pirq: u32) -> Result<u32, Errno> {
        self.call(EventOp::BindPirq, BindPirq { pirq, ..BindPirq::default() }).map(|result| result.port)
    }

    pub(crate) fn bind_ipi(&self, vcpu: u32) -> Result<u32, Errno> {
        self.call(EventOp::BindIpi, BindIpi { vcpu, port: 0 }).map(|result| result.port)
    }

    pub(crate) fn status(&self, dom: u16, port: u32) -> Result<Status, Errno> {
        self.call(EventOp::Status, Status { dom, port, ..Status::default() })
    }

    /// What a port of the caller's is.
    pub(crate) fn state(&self, port: u32) -> Result<u32, Errno> {
        self.status(SELF, port).map(|status| status.status)
    }

    pub(crate) fn send(&self, port: u32) -> Result<(), Errno> {
        self.done(EventOp::Send, Send { port })
    }

    pub(crate) fn close(&self, port: u32) -> Result<(), Errno> {
        self.done(EventOp::Close, Close { port })
    }

    pub(crate) fn unmask(&self, port: u32) -> Result<(), Errno> {
        self.done(EventOp::Unmask, Unmask { port })
    }

    pub(crate) fn bind_vcpu(&self, port: u32, vcpu: u32) -> Result<(), Errno> {
        self.done(EventOp::BindVcpu, BindVcpu { port, vcpu })
    }

    pub(crate) fn set_priority(&self, port: u32, priority: u32) -> Result<(), Errno> {
        self.done(EventOp::SetPriority, SetPriority { port, priority })
    }
}
