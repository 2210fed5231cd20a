//! The way in for a domain's hypercalls: bytes in, a result and bytes out, as a hypervisor's entry code does it.

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
use hypervisor_lib::event::PhysdevCall;
use hypervisor_lib::event::PirqError;
use lock_api::RawMutex;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::world::View;
use crate::world::World;

/// A domain's hypercalls.
#[derive(Debug)]
pub struct Door<'w, M, L: RawMutex> {
    world: &'w World<M, L>,
    caller: DomainId,
}

impl<'w, M: View, L: RawMutex> Door<'w, M, L> {
    pub(crate) fn new(world: &'w World<M, L>, caller: DomainId) -> Self {
        Self { world, caller }
    }

    fn domain(&self) -> &'w Domain<L> {
        self.world.get(self.caller)
    }
}

/// Reads an argument, runs the call, and writes the argument back. An argument that is too short is a fault.
fn with<A: FromBytes + IntoBytes + Immutable>(bytes: &mut [u8], call: impl FnOnce(&mut A) -> Result<(), Errno>) -> i64 {
    let Ok((mut argument, _)) = A::read_from_prefix(bytes) else { return Errno::BadAddress.hypercall_result() };
    let result = call(&mut argument);
    if argument.write_to_prefix(bytes).is_err() {
        return Errno::BadAddress.hypercall_result();
    }
    result.map_or_else(Errno::hypercall_result, |()| 0)
}

impl<M: View, L: RawMutex> Hypercalls for Door<'_, M, L> {
    fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64 {
        let result = self.domain().event_channel_hypercall(self.world, op, argument);
        result.map_or_else(Errno::hypercall_result, |()| 0)
    }

    fn vcpu_op(&self, op: u32, vcpu: VcpuId, argument: &mut [u8]) -> i64 {
        if op != VCPUOP_REGISTER_VCPU_INFO {
            return Errno::NotImplemented.hypercall_result();
        }
        with(argument, |a: &mut RegisterVcpuInfo| {
            let place = GuestPlace { gfn: a.gfn, offset: a.offset };
            self.domain().register_vcpu_info(self.world, vcpu, place).map_err(EventError::errno)
        })
    }

    fn hvm_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        let (domain, world) = (self.domain(), self.world);
        match op {
            hvm::HVMOP_SET_EVTCHN_UPCALL_VECTOR => with(argument, |a: &mut hvm::EvtchnUpcallVector| {
                domain.set_upcall_vector(world, VcpuId(a.vcpu), a.vector).map_err(EventError::errno)
            }),
            hvm::HVMOP_SET_PARAM => {
                let Ok((param, _)) = hvm::HvmParam::read_from_prefix(argument) else {
                    return Errno::BadAddress.hypercall_result();
                };
                let via = CallbackVia::from_param(param.value);
                match via {
                    Ok(via) if param.index == hvm::HVM_PARAM_CALLBACK_IRQ => with(argument, |_: &mut hvm::HvmParam| {
                        let set = domain.set_callback_via(world, via, domain.word_size());
                        set.map_err(EventError::errno)
                    }),
                    _ => Errno::Invalid.hypercall_result(),
                }
            }
            _ => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn physdev_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        let (domain, world) = (self.domain(), self.world);
        /// Carries out the operation of one argument structure.
        macro_rules! call {
            ($name:ident $(, $more:expr)?) => {
                with(argument, |argument| {
                    let mut call = PhysdevCall::$name(*argument $(, $more)?);
                    let result = domain.physdev_op(world, &mut call);
                    if let PhysdevCall::$name(filled, ..) = call {
                        *argument = filled;
                    }
                    result.map_err(PirqError::errno)
                })
            };
        }
        match op {
            physdev::PHYSDEVOP_IRQ_STATUS_QUERY => call!(IrqStatusQuery),
            physdev::PHYSDEVOP_EOI => call!(Eoi),
            physdev::PHYSDEVOP_MAP_PIRQ => call!(MapPirq),
            physdev::PHYSDEVOP_UNMAP_PIRQ => call!(UnmapPirq),
            physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V1 => call!(PirqEoiGmfn, EoiUnmask::Automatic),
            physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V2 => call!(PirqEoiGmfn, EoiUnmask::Manual),
            physdev::PHYSDEVOP_GET_FREE_PIRQ => call!(GetFreePirq),
            _ => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn xen_version(&self, _: u32, _: &mut [u8]) -> i64 {
        Errno::NotImplemented.hypercall_result()
    }
}
