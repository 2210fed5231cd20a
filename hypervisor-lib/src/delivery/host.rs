//! What a local APIC asks of the hypervisor around it.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicBase;
use vector_allocator::Vector;

use super::bus::ApicBus;
use super::time::Deadline;

/// The hypervisor around a domain's local APICs. [`act`](Self::act) may be called from several threads at once, and must
/// not call back.
pub trait Host {
    /// What connects the domain's local APICs.
    fn bus(&self) -> &ApicBus;

    /// Carries out what an operation asks for. All but [`Action::Kick`] concern the vCPU whose local APIC was called.
    fn act(&self, action: Action);
}

/// What a local APIC asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Something has come in for a vCPU that knew of nothing: wake it, or take it out of the guest, so that it syncs.
    Kick(VcpuId),
    /// A level-triggered interrupt has ended: tell every I/O APIC (SDM vol. 3A, 11.8.5).
    EndOfInterrupt(Vector),
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
