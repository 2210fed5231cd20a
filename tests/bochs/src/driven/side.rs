//! What both sides of a comparison have in common.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::MSR_APIC_BASE;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::engine::DeliveryEngine;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::ProcessorRole;

use super::hypervisor::APIC_ID;
use super::hypervisor::VCPU;
use crate::checks::Reach;

/// No time passes: nothing here has a timer.
pub(super) const NOW: Moment = Moment { bus: 0, tsc: 0 };

/// The frame at its default place; a bootstrap processor; enabled. And the bit for x2APIC mode.
const BASE: u64 = 0xfee0_0900;
const X2APIC: u64 = 1 << 10;
/// SVR: software-enabled, spurious vector FF.
const ENABLED: u32 = 0x1ff;

/// A vCPU whose local APIC is in the mode that `reach` needs, and software-enabled.
pub(super) fn new_vcpu<E: DeliveryEngine, H: Host>(reach: Reach, engine: E, host: &H) -> VcpuApic<E> {
    let config = LocalApicConfig {
        vcpu: VCPU,
        id: APIC_ID,
        role: ProcessorRole::Bootstrap,
        features: ApicFeatures { x2apic: true, ..ApicFeatures::default() },
        physical_bits: 40,
    };
    let mut vcpu = VcpuApic::new(config, engine, host);
    match reach {
        Reach::Msrs => {
            vcpu.write_msr(NOW, MSR_APIC_BASE, BASE | X2APIC, host).expect("x2APIC mode is offered");
            vcpu.write_msr(NOW, MSR_X2APIC_FIRST + 0x0f, ENABLED.into(), host).expect("a legal value");
        }
        Reach::Page => {
            vcpu.write_mmio(NOW, 0x0f0, AccessWidth::Dword, ENABLED, host).expect("a legal access");
        }
    }
    assert_eq!(vcpu.local_apic(host).mode() == ApicMode::X2Apic, reach == Reach::Msrs);
    vcpu
}

/// A device's message.
pub(super) fn message(vector: u8, trigger: TriggerMode) -> Message {
    Message { destination: Destination::Physical(APIC_ID.0), delivery: DeliveryMode::Fixed, vector, trigger }
}

/// A non-maskable interrupt from a device.
pub(super) fn nmi() -> Message {
    Message { delivery: DeliveryMode::Nmi, ..message(0, TriggerMode::Edge) }
}
