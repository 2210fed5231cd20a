//! What a local APIC asks of the hypervisor around it.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicBase;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::posted::PostedDescriptor;
use vector_allocator::Vector;

use super::bus::ApicBus;
use super::engine::AvicTables;
use super::engine::Setting;
use super::posted::Notice;
use super::time::Deadline;

/// The hypervisor around a domain's local APICs. [`act`](Self::act) may be called from several threads at once, and must
/// not call back.
pub trait Host {
    /// What connects the domain's local APICs.
    fn bus(&self) -> &ApicBus;

    /// Carries out what an operation asks for. All but [`Action::Kick`], [`Action::Notify`] and [`Action::RingDoorbell`]
    /// concern the vCPU whose local APIC was called.
    fn act(&self, action: Action);

    /// The page with a vCPU's registers that the processor works on: Intel's virtual-APIC page, AMD's backing page. The same
    /// for good; none if the vCPU's engine is software for good.
    fn page(&self, _vcpu: VcpuId) -> Option<&BackingPage> {
        None
    }

    /// A vCPU's posted-interrupt descriptor. The same for good; none if nothing is ever posted to it.
    fn descriptor(&self, _vcpu: VcpuId) -> Option<&PostedDescriptor> {
        None
    }

    /// The tables of the domain that AVIC reads; none if none of its vCPUs ever has that engine.
    fn avic(&self) -> Option<AvicTables<'_>> {
        None
    }

    /// The external interrupt controller is asked for its vector, by the vCPU that takes an external interrupt; none if
    /// nothing waits there any more.
    fn external_vector(&self) -> Option<u8> {
        None
    }
}

/// What a local APIC asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Something has come in for a vCPU that knew of nothing: wake it, or take it out of the guest, so that it syncs.
    Kick(VcpuId),
    /// Something has been posted: send this host vector to this physical CPU.
    Notify(Notice),
    /// Something waits in the page of a vCPU that AVIC runs: ring the doorbell of its physical CPU.
    RingDoorbell(HostApicId),
    /// Set the vCPU's control structure so, before it is entered.
    Set(Setting),
    /// A level-triggered interrupt has ended: tell every I/O APIC (SDM vol. 3A, 11.8.5).
    EndOfInterrupt(Vector),
    /// An edge-triggered interrupt has ended whose end a route asked to hear of
    /// ([`EoiExitBitmap`](super::apicv::EoiExitBitmap)).
    VectorEnded(Vector),
    /// A vCPU under AVIC has another logical ID: build the logical table anew.
    LogicalIdChanged,
    /// Call [`tick`](super::software::LocalApic::tick) then, and no longer at the time given before; never, if none.
    SetTimer(Option<Deadline>),
    /// Non-maskable interrupt.
    Nmi,
    /// System-management interrupt.
    Smi,
    /// INIT: once the vCPU takes it, call [`init`](super::software::LocalApic::init).
    Init,
    /// Start-up at this page, if the vCPU waits for it.
    StartUp(u8),
    /// The register page has moved, or the mode has changed: map or unmap the page, and adjust CPUID's APIC flag.
    BaseChanged(ApicBase),
    /// The local APIC has become software-enabled: whatever was not delivered because it was not is due now.
    SoftwareEnabled,
}
