//! What the local APIC in software makes of an access: the one that runs is asked.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::ErrorStatus;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::avic::AccessKind;

use super::RegisterAccess;
use crate::delivery::bus::ApicBus;
use crate::delivery::choice::GuestMode;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::delivery::software::AccessWidth;
use crate::delivery::software::ApicFeatures;
use crate::delivery::software::LocalApic;
use crate::delivery::software::LocalApicConfig;
use crate::delivery::software::MsrFault;
use crate::delivery::software::ProcessorRole;
use crate::delivery::time::Moment;

/// What an emulated access comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emulation {
    /// It does what it says.
    Done,
    /// A write of a register that can only be read: nothing happens.
    Ignored,
    /// A read of a register that can only be written: zero.
    Zero,
    /// There is no such register: ESR notes it, and a read gives zero.
    IllegalRegister,
    /// A general-protection fault is injected.
    GeneralProtection,
}

/// The surroundings of a local APIC that is only asked: nobody acts on what it wants.
struct Alone(ApicBus);

impl Host for Alone {
    fn bus(&self) -> &ApicBus {
        &self.0
    }

    fn act(&self, _: Action) {}
}

/// Makes an access to a local APIC with every feature, fresh from reset. A value that is not known is zero, which every
/// register takes that can be written.
pub(super) fn emulate(access: RegisterAccess) -> Emulation {
    // One number is neither twice there nor too high.
    let Ok(bus) = ApicBus::new(&[ApicId(0)]) else { return Emulation::IllegalRegister };
    let host = Alone(bus);
    let config = LocalApicConfig {
        vcpu: VcpuId(0),
        id: ApicId(0),
        role: ProcessorRole::Bootstrap,
        features: ApicFeatures { x2apic: true, tsc_deadline: true, suppress_eoi: true, cmci: true },
        physical_bits: 46,
    };
    let mut apic = LocalApic::new(config, &host);
    match access.mode {
        GuestMode::XApic => by_page(&mut apic, access, &host),
        GuestMode::X2Apic => {
            let base = apic.base().with_extended(true);
            match apic.write_base(base.into(), &host).and_then(|()| by_msr(&mut apic, access, &host)) {
                Ok(()) => Emulation::Done,
                Err(_) => Emulation::GeneralProtection,
            }
        }
    }
}

fn by_msr(apic: &mut LocalApic, access: RegisterAccess, host: &Alone) -> Result<(), MsrFault> {
    let (now, msr) = (Moment::default(), access.slot.msr());
    match access.kind {
        AccessKind::Read => apic.read_msr(now, msr, host).map(|_| ()),
        AccessKind::Write => apic.write_msr(now, msr, access.value.unwrap_or(0), host),
    }
}

fn by_page(apic: &mut LocalApic, access: RegisterAccess, host: &Alone) -> Emulation {
    let (now, offset) = (Moment::default(), access.slot.offset());
    let icr = Icr::from(access.value.unwrap_or(0));
    let _ = apic.write_mmio(now, ApicRegister::IcrHigh.offset(), AccessWidth::Dword, icr.destination(), host);
    let _ = match access.kind {
        AccessKind::Read => apic.read_mmio(now, offset, AccessWidth::Dword).map(|_| ()),
        AccessKind::Write => apic.write_mmio(now, offset, AccessWidth::Dword, icr.low(), host),
    };
    let esr = ApicRegister::ErrorStatus.offset();
    let _ = apic.write_mmio(now, esr, AccessWidth::Dword, 0, host);
    let errors = apic.read_mmio(now, esr, AccessWidth::Dword).unwrap_or(0);
    let access_right = access.slot.register().map(ApicRegister::xapic_access);
    match (access_right, access.kind) {
        _ if ErrorStatus::from(errors).illegal_register() => Emulation::IllegalRegister,
        (Some(ApicAccess::ReadOnly), AccessKind::Write) => Emulation::Ignored,
        (Some(ApicAccess::WriteOnly), AccessKind::Read) => Emulation::Zero,
        _ => Emulation::Done,
    }
}
