//! The way to the hypervisor: hypercalls the user issues, and why one failed.

use core::fmt;

use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EventOp;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

/// Issues hypercalls (`public/xen.h`, `__HYPERVISOR_*`).
///
/// An argument is the bytes of the C structure, aligned as the structure is: the implementor passes their address in the
/// last register and returns what the hypervisor left in RAX. It is shared memory for the length of the call only.
pub trait Hypercalls {
    /// `__HYPERVISOR_event_channel_op` (32).
    fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64;

    /// `__HYPERVISOR_vcpu_op` (24).
    fn vcpu_op(&self, op: u32, vcpu: VcpuId, argument: &mut [u8]) -> i64;

    /// `__HYPERVISOR_hvm_op` (34).
    fn hvm_op(&self, op: u32, argument: &mut [u8]) -> i64;

    /// `__HYPERVISOR_physdev_op` (33).
    fn physdev_op(&self, op: u32, argument: &mut [u8]) -> i64;

    /// `__HYPERVISOR_xen_version` (17).
    fn xen_version(&self, op: u32, argument: &mut [u8]) -> i64;

    /// `__HYPERVISOR_memory_op` (12). Only [`map_shared_info`](crate::map_shared_info) issues it; where the shared page is
    /// found otherwise, it may be left out.
    fn memory_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        let _ = (op, argument);
        Errno::NotImplemented.hypercall_result()
    }

    /// `__HYPERVISOR_sched_op` (29). Only [`poll`](crate::poll) and [`suspend`](crate::EventChannels::suspend) issue it; a
    /// guest that does neither may leave it out.
    fn sched_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        let _ = (op, argument);
        Errno::NotImplemented.hypercall_result()
    }
}

impl<H: Hypercalls + ?Sized> Hypercalls for &H {
    fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64 {
        (**self).event_channel_op(op, argument)
    }

    fn vcpu_op(&self, op: u32, vcpu: VcpuId, argument: &mut [u8]) -> i64 {
        (**self).vcpu_op(op, vcpu, argument)
    }

    fn hvm_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        (**self).hvm_op(op, argument)
    }

    fn physdev_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        (**self).physdev_op(op, argument)
    }

    fn xen_version(&self, op: u32, argument: &mut [u8]) -> i64 {
        (**self).xen_version(op, argument)
    }

    fn memory_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        (**self).memory_op(op, argument)
    }

    fn sched_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        (**self).sched_op(op, argument)
    }
}

/// The hypervisor refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} of {object} was refused: {reason}")]
pub struct Refused {
    /// Which call, in the words of the headers.
    pub call: &'static str,
    /// On which port, vCPU, physical IRQ or frame.
    pub object: Object,
    /// Why.
    pub reason: Reason,
}

/// What a call was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// An event channel.
    Port(u32),
    /// A virtual CPU.
    Vcpu(u32),
    /// A virtual IRQ.
    Virq(u32),
    /// A physical IRQ.
    Pirq(u32),
    /// Another domain.
    Domain(u16),
    /// A page of the guest's.
    Frame(u64),
    /// The guest's own domain.
    Guest,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(number) => write!(f, "port {number}"),
            Self::Vcpu(number) => write!(f, "vCPU {number}"),
            Self::Virq(number) => write!(f, "virtual IRQ {number}"),
            Self::Pirq(number) => write!(f, "physical IRQ {number}"),
            Self::Domain(number) => write!(f, "domain {number}"),
            Self::Frame(number) => write!(f, "frame {number:#x}"),
            Self::Guest => f.write_str("this guest"),
        }
    }
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// One of the interface's errors.
    #[error(transparent)]
    Errno(#[from] Errno),
    /// A negative result that is none of the interface's errors.
    #[error("unknown result {0}")]
    Unknown(i64),
}

impl Refused {
    /// Whether the hypervisor gave this error.
    #[must_use]
    pub fn is(&self, errno: Errno) -> bool {
        self.reason == Reason::Errno(errno)
    }

    pub(crate) fn check(call: &'static str, object: Object, result: i64) -> Result<(), Self> {
        if result >= 0 {
            return Ok(());
        }
        let reason = Errno::from_hypercall_result(result).map_or(Reason::Unknown(result), Reason::Errno);
        Err(Self { call, object, reason })
    }
}

/// The calls this crate issues, with typed arguments.
pub(crate) trait Calls: Hypercalls {
    fn event<A: IntoBytes + FromBytes>(&self, op: EventOp, object: Object, argument: &mut A) -> Result<(), Refused> {
        Refused::check(event_name(op), object, self.event_channel_op(op, argument.as_mut_bytes()))
    }

    fn vcpu<A: IntoBytes + FromBytes>(
        &self,
        call: (&'static str, u32),
        vcpu: VcpuId,
        argument: &mut A,
    ) -> Result<(), Refused> {
        Refused::check(call.0, Object::Vcpu(vcpu.0), self.vcpu_op(call.1, vcpu, argument.as_mut_bytes()))
    }

    fn hvm<A: IntoBytes + FromBytes>(
        &self,
        call: (&'static str, u32),
        object: Object,
        argument: &mut A,
    ) -> Result<(), Refused> {
        Refused::check(call.0, object, self.hvm_op(call.1, argument.as_mut_bytes()))
    }

    fn physdev<A: IntoBytes + FromBytes>(
        &self,
        call: (&'static str, u32),
        object: Object,
        argument: &mut A,
    ) -> Result<(), Refused> {
        Refused::check(call.0, object, self.physdev_op(call.1, argument.as_mut_bytes()))
    }

    fn memory<A: IntoBytes + FromBytes>(
        &self,
        call: (&'static str, u32),
        object: Object,
        argument: &mut A,
    ) -> Result<(), Refused> {
        Refused::check(call.0, object, self.memory_op(call.1, argument.as_mut_bytes()))
    }

    fn sched<A: IntoBytes + FromBytes>(
        &self,
        call: (&'static str, u32),
        object: Object,
        argument: &mut A,
    ) -> Result<(), Refused> {
        Refused::check(call.0, object, self.sched_op(call.1, argument.as_mut_bytes()))
    }

    fn version<A: IntoBytes + FromBytes>(&self, call: (&'static str, u32), argument: &mut A) -> Result<(), Refused> {
        Refused::check(call.0, Object::Guest, self.xen_version(call.1, argument.as_mut_bytes()))
    }
}

impl<H: Hypercalls + ?Sized> Calls for H {}

const fn event_name(op: EventOp) -> &'static str {
    match op {
        EventOp::BindInterdomain => "EVTCHNOP_bind_interdomain",
        EventOp::BindVirq => "EVTCHNOP_bind_virq",
        EventOp::BindPirq => "EVTCHNOP_bind_pirq",
        EventOp::Close => "EVTCHNOP_close",
        EventOp::Send => "EVTCHNOP_send",
        EventOp::Status => "EVTCHNOP_status",
        EventOp::AllocUnbound => "EVTCHNOP_alloc_unbound",
        EventOp::BindIpi => "EVTCHNOP_bind_ipi",
        EventOp::BindVcpu => "EVTCHNOP_bind_vcpu",
        EventOp::Unmask => "EVTCHNOP_unmask",
        EventOp::Reset => "EVTCHNOP_reset",
        EventOp::InitControl => "EVTCHNOP_init_control",
        EventOp::ExpandArray => "EVTCHNOP_expand_array",
        EventOp::SetPriority => "EVTCHNOP_set_priority",
        EventOp::ResetContinuation => "the continuation of EVTCHNOP_reset",
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use hypervisor_abi::Errno;

    use super::Object;
    use super::Reason;
    use super::Refused;

    #[test]
    fn a_refusal_says_which_call_on_what_and_why() {
        let refused = Refused::check("EVTCHNOP_close", Object::Port(7), -22).unwrap_err();
        assert!(refused.is(Errno::Invalid));
        assert_eq!(refused.to_string(), "EVTCHNOP_close of port 7 was refused: invalid argument");
        assert_eq!(Refused::check("EVTCHNOP_close", Object::Port(7), 0), Ok(()));
        let unknown = Refused::check("HVMOP_set_param", Object::Guest, -999).unwrap_err();
        assert_eq!(unknown.reason, Reason::Unknown(-999));
    }
}
