//! Bringing a vCPU's events up, in the order that loses nothing.
//!
//! ```text
//! 0  shared page                      once for the guest, if the hypervisor translates its frames: before the first port
//! 1  local APIC software-enabled      an upcall's vector is an edge: raised while the APIC is off, it is lost (R-30)
//! 2  vcpu_info                        where the hypervisor says that events are pending
//! 3  FIFO control block, event words  where it says which
//! 4  the upcall's vector              last: from here on upcalls come
//! ```

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::hvm::EvtchnUpcallVector;
use hypervisor_abi::hvm::HVM_PARAM_CALLBACK_IRQ;
use hypervisor_abi::hvm::HVMOP_GET_PARAM;
use hypervisor_abi::hvm::HVMOP_SET_EVTCHN_UPCALL_VECTOR;
use hypervisor_abi::hvm::HVMOP_SET_PARAM;
use hypervisor_abi::hvm::HvmParam;
use hypervisor_abi::memory::AddToPhysmap;
use hypervisor_abi::memory::XENMAPSPACE_SHARED_INFO;
use hypervisor_abi::memory::XENMEM_ADD_TO_PHYSMAP;
use hypervisor_abi::vcpu_info::RegisterVcpuInfo;
use hypervisor_abi::vcpu_info::VCPUOP_REGISTER_VCPU_INFO;

use crate::abi::EventAbi;
use crate::abi::VcpuInfoOf;
use crate::channels::EventChannels;
use crate::hypercall::Calls;
use crate::hypercall::Hypercalls;
use crate::hypercall::Object;
use crate::hypercall::Refused;
use crate::throttle::Throttle;
use crate::upcall::VcpuEvents;

/// A guest frame's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gfn(pub u64);

/// A place in the guest's memory, as the hypervisor is told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The frame.
    pub gfn: Gfn,
    /// The offset within it, in bytes.
    pub offset: u32,
}

/// The local APIC of the vCPU this runs on.
pub trait LocalApic {
    /// Bit 8 of the spurious-interrupt vector register (SDM vol. 3A, 11.9).
    fn is_software_enabled(&self) -> bool;
}

/// How events interrupt a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upcall {
    /// By a vector of the vCPU's own, through its local APIC, where a handler must signal its EOI before anything else.
    OwnVector(u8),
    /// By the domain's callback.
    Callback(CallbackVia),
}

impl Upcall {
    /// Whether the interrupt passes through an interrupt controller that waits for an EOI. The callback by vector does not
    /// (`xen/arch/x86/hvm/irq.c`, `hvm_intsrc_vector`).
    #[must_use]
    pub const fn needs_apic_eoi(self) -> bool {
        match self {
            Self::OwnVector(_) | Self::Callback(CallbackVia::Gsi(_) | CallbackVia::PciIntx { .. }) => true,
            Self::Callback(CallbackVia::Vector(_) | CallbackVia::None) => false,
        }
    }
}

/// What a vCPU is brought up with.
#[derive(Debug)]
pub struct VcpuSetUp<'a, A: EventAbi> {
    /// Which vCPU.
    pub vcpu: VcpuId,
    /// Its block: in the shared page, or wherever `info_place` says.
    pub info: &'a VcpuInfoOf<A>,
    /// Where the block is to be registered, 64-byte aligned; `None` for the shared page's, which vCPUs 0 to 31 have.
    pub info_place: Option<Place>,
    /// What the ABI needs beside.
    pub pages: A::Pages,
    /// How its events interrupt it.
    pub upcall: Upcall,
    /// Its limits.
    pub throttle: Throttle,
}

/// A vCPU could not be brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetUpError {
    /// The local APIC is off; upcalls would be lost.
    #[error("the local APIC of {0} is not software-enabled")]
    LocalApicOff(VcpuId),
    /// The hypervisor refused.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl<'a, A: EventAbi, H: Hypercalls> EventChannels<'a, A, H> {
    /// Brings up a vCPU, on that vCPU. The boot vCPU comes first: with the FIFO ABI it also gives the hypervisor the pages
    /// of event words.
    ///
    /// # Errors
    /// [`SetUpError`]; [`Errno::NotImplemented`](hypervisor_abi::Errno::NotImplemented) from the FIFO ABI means that this
    /// hypervisor has only the 2-level one.
    pub fn bring_up(
        &self,
        set_up: VcpuSetUp<'a, A>,
        local_apic: &impl LocalApic,
    ) -> Result<VcpuEvents<'a, A>, SetUpError> {
        let VcpuSetUp { vcpu, info, info_place, pages, upcall, throttle } = set_up;
        if !local_apic.is_software_enabled() {
            return Err(SetUpError::LocalApicOff(vcpu));
        }
        if let Some(place) = info_place {
            let mut argument = RegisterVcpuInfo { gfn: place.gfn.0, offset: place.offset, reserved: 0 };
            let call = ("VCPUOP_register_vcpu_info", VCPUOP_REGISTER_VCPU_INFO);
            self.hypercalls().vcpu(call, vcpu, &mut argument)?;
        }
        let queues = self.abi().attach(self.hypercalls(), vcpu, pages)?;
        set_upcall(self.hypercalls(), vcpu, upcall)?;
        Ok(VcpuEvents::new(vcpu, info, queues, throttle))
    }
}

/// Tells the hypervisor how events interrupt a vCPU. A callback is the whole domain's.
///
/// # Errors
/// [`Refused`]: a vector below 0x10, or no such vCPU.
pub fn set_upcall(hypercalls: &impl Hypercalls, vcpu: VcpuId, upcall: Upcall) -> Result<(), Refused> {
    match upcall {
        Upcall::OwnVector(vector) => {
            let mut argument = EvtchnUpcallVector { vcpu: vcpu.0, vector, ..EvtchnUpcallVector::default() };
            let call = ("HVMOP_set_evtchn_upcall_vector", HVMOP_SET_EVTCHN_UPCALL_VECTOR);
            hypercalls.hvm(call, Object::Vcpu(vcpu.0), &mut argument)
        }
        Upcall::Callback(via) => {
            let index = HVM_PARAM_CALLBACK_IRQ;
            let mut argument = HvmParam { domid: DomainId::SELF.0, pad: 0, index, value: via.to_param() };
            hypercalls.hvm(("HVMOP_set_param", HVMOP_SET_PARAM), Object::Guest, &mut argument)
        }
    }
}

/// Puts the shared page at a frame of the guest's (`XENMEM_add_to_physmap`): a guest whose frames the hypervisor translates,
/// HVM or PVH, finds it nowhere before. What was at the frame is hidden from then on.
///
/// # Errors
/// [`Refused`]: a frame the guest cannot have.
pub fn map_shared_info(hypercalls: &impl Hypercalls, gfn: Gfn) -> Result<(), Refused> {
    let space = XENMAPSPACE_SHARED_INFO;
    let mut argument = AddToPhysmap { domid: DomainId::SELF.0, size: 0, space, idx: 0, gpfn: gfn.0 };
    hypercalls.memory(("XENMEM_add_to_physmap", XENMEM_ADD_TO_PHYSMAP), Object::Frame(gfn.0), &mut argument)
}

/// Reads a parameter of the guest's own (`HVM_PARAM_*`), such as the ports of xenstore and the console.
///
/// # Errors
/// [`Refused`]: no such parameter.
pub fn hvm_param(hypercalls: &impl Hypercalls, index: u32) -> Result<u64, Refused> {
    let mut argument = HvmParam { domid: DomainId::SELF.0, pad: 0, index, value: 0 };
    hypercalls.hvm(("HVMOP_get_param", HVMOP_GET_PARAM), Object::Guest, &mut argument)?;
    Ok(argument.value)
}
