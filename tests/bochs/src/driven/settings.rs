//! What an engine sets, in the current VMCS.

use hypervisor_abi::apic::MSR_APIC_BASE;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::apicv::ApicvControls;
use hypervisor_lib::delivery::apicv::MsrIntercepts;
use hypervisor_lib::delivery::engine::Setting;
use hypervisor_lib::delivery::engine::Window;

use crate::cpu::vmread;
use crate::cpu::vmwrite;
use crate::memory::MSR_BITMAP;
use crate::vmcs::field;

/// Where the bitmaps for reads and for writes of low MSRs begin, in words (SDM vol. 3C, 25.6.9).
const READS: usize = 0;
const WRITES: usize = 2048 / 4;

/// Carries out a setting.
///
/// # Panics
/// It is none for this CPU: AMD's, or IPI virtualization.
pub(super) fn apply(setting: Setting) {
    match setting {
        Setting::Apicv(controls) => load_controls(controls),
        Setting::Window(Window::Interrupt, switch) => set(field::PRIMARY_CONTROLS, 2, switch == Switch::On),
        Setting::Window(Window::Nmi, switch) => set(field::PRIMARY_CONTROLS, 22, switch == Switch::On),
        _ => {
            let (field, value) = setting.vmcs().expect("a setting of Intel's");
            vmwrite(field, value);
        }
    }
}

fn load_controls(controls: ApicvControls) {
    assert!(!controls.ipis, "no IPI virtualization here");
    for (field, bit, wanted) in [
        (field::PIN_CONTROLS, 0, controls.external_interrupts_exit),
        (field::PIN_CONTROLS, 7, controls.posting),
        // Without a TPR shadow CR8 is not the physical one either.
        (field::PRIMARY_CONTROLS, 19, !controls.tpr_shadow),
        (field::PRIMARY_CONTROLS, 20, !controls.tpr_shadow),
        (field::PRIMARY_CONTROLS, 21, controls.tpr_shadow),
        (field::SECONDARY_CONTROLS, 0, controls.accesses),
        (field::SECONDARY_CONTROLS, 4, controls.x2apic),
        (field::SECONDARY_CONTROLS, 8, controls.registers),
        (field::SECONDARY_CONTROLS, 9, controls.delivery),
        (field::EXIT_CONTROLS, 15, controls.acknowledge_on_exit),
    ] {
        set(field, bit, wanted);
    }
    let intercepts = MsrIntercepts::new(controls);
    for msr in MSR_X2APIC_FIRST..=MSR_X2APIC_LAST {
        intercept(READS, msr, intercepts.read_exits(msr));
        intercept(WRITES, msr, intercepts.write_exits(msr));
    }
    intercept(READS, MSR_APIC_BASE, true);
    intercept(WRITES, MSR_APIC_BASE, true);
}

fn set(field: u32, bit: u32, wanted: bool) {
    let others = vmread(field) & !(1 << bit);
    vmwrite(field, others | u64::from(wanted) << bit);
}

fn intercept(bitmap: usize, msr: u32, wanted: bool) {
    let word = bitmap + msr as usize / 32;
    let others = MSR_BITMAP.load(word) & !(1 << (msr % 32));
    MSR_BITMAP.store(word, others | u32::from(wanted) << (msr % 32));
}
