//! A guest's way to the hypervisor: its hypercalls, carried out at once. What they cost is the machine's to say.

use guest_shim::Hypercalls;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::hvm;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::physdev;
use hypervisor_abi::vcpu_info::RegisterVcpuInfo;
use hypervisor_abi::vcpu_info::VCPUOP_REGISTER_VCPU_INFO;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::EoiUnmask;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::Host as _;
use hypervisor_lib::event::WordSize;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use super::xen::Lock;
use super::xen::Xen;

/// The hypercalls of one domain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door<'a> {
    pub(super) xen: &'a Xen,
    pub(super) domain: DomainId,
}

/// Reads an argument, carries out the call, writes the argument back, and gives what the guest finds in RAX.
fn with<A: FromBytes + IntoBytes + Immutable>(bytes: &mut [u8], call: impl FnOnce(&mut A) -> Result<(), Errno>) -> i64 {
    let Ok(mut argument) = A::read_from_bytes(bytes) else { return Errno::Invalid.hypercall_result() };
    let result = call(&mut argument);
    match (result, argument.write_to(bytes)) {
        (Ok(()), Ok(())) => 0,
        (Err(errno), _) => errno.hypercall_result(),
        (Ok(()), Err(_)) => Errno::Invalid.hypercall_result(),
    }
}

impl<'a> Door<'a> {
    fn domain(self) -> Result<&'a Domain<Lock>, Errno> {
        self.xen.domain(self.domain).ok_or(Errno::NoDomain)
    }
}

impl Hypercalls for Door<'_> {
    fn event_channel_op(&self, op: EventOp, bytes: &mut [u8]) -> i64 {
        let result = self.domain().and_then(|domain| domain.event_channel_hypercall(self.xen, op, bytes));
        result.map_or_else(Errno::hypercall_result, |()| 0)
    }

    fn vcpu_op(&self, op: u32, vcpu: VcpuId, bytes: &mut [u8]) -> i64 {
        match op {
            VCPUOP_REGISTER_VCPU_INFO => with(bytes, |argument: &mut RegisterVcpuInfo| {
                let place = GuestPlace { gfn: argument.gfn, offset: argument.offset };
                self.domain()?.register_vcpu_info(self.xen, vcpu, place).map_err(EventError::errno)
            }),
            _ => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn hvm_op(&self, op: u32, bytes: &mut [u8]) -> i64 {
        match op {
            hvm::HVMOP_SET_PARAM => with(bytes, |argument: &mut hvm::HvmParam| {
                if argument.index != hvm::HVM_PARAM_CALLBACK_IRQ {
                    return Err(Errno::Invalid);
                }
                let via = CallbackVia::from_param(argument.value).map_err(|_| Errno::Invalid)?;
                self.domain()?.set_callback_via(self.xen, via, WordSize::Bits64).map_err(EventError::errno)
            }),
            _ => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn physdev_op(&self, op: u32, bytes: &mut [u8]) -> i64 {
        match op {
            physdev::PHYSDEVOP_EOI => with(bytes, |argument: &mut physdev::PirqEoi| {
                self.domain()?.pirq_eoi(self.xen, argument.irq).map_err(EventError::errno)
            }),
            physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V2 => with(bytes, |argument: &mut physdev::PirqEoiGmfn| {
                let domain = self.domain()?;
                domain.register_pirq_eoi_page(self.xen, argument.gmfn, EoiUnmask::Manual).map_err(EventError::errno)
            }),
            _ => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn xen_version(&self, _: u32, _: &mut [u8]) -> i64 {
        Errno::NotImplemented.hypercall_result()
    }
}
