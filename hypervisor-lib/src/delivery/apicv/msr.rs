//! RDMSR and WRMSR in x2APIC mode (SDM vol. 3C, 30.5): what is let through must not reach the physical local APIC.

use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;

use super::controls::ApicvControls;
use super::page::AfterWrite;
use super::page::Command;

const TPR: u32 = ApicRegister::TaskPriority.msr();
const EOI: u32 = ApicRegister::Eoi.msr();
const ICR: u32 = ApicRegister::IcrLow.msr();
const SELF_IPI: u32 = ApicRegister::SelfIpi.msr();

/// What becomes of an RDMSR that is not intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MsrRead {
    /// The virtual-APIC page gives 8 bytes, from this offset on, whatever is there.
    Page(u16),
    /// The physical MSR is read.
    Physical,
}

/// What becomes of a WRMSR that is not intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MsrWrite {
    /// It goes to the virtual-APIC page, and this follows.
    Virtualized(AfterWrite),
    /// A reserved bit: a general-protection fault.
    Fault,
    /// The physical MSR is written.
    Physical,
}

/// What an RDMSR does unless it is intercepted. With APIC-register virtualization every number of the range reads the page,
/// even where no register is.
#[must_use]
pub const fn read_msr(controls: ApicvControls, msr: u32) -> MsrRead {
    let is_virtualized = controls.x2apic && (msr == TPR || controls.registers);
    match msr {
        MSR_X2APIC_FIRST..=MSR_X2APIC_LAST if is_virtualized => MsrRead::Page((msr.to_le_bytes()[0] as u16) << 4),
        _ => MsrRead::Physical,
    }
}

/// What a WRMSR does unless it is intercepted. Four numbers are special, and each only with its control.
#[must_use]
pub const fn write_msr(controls: ApicvControls, msr: u32, value: u64) -> MsrWrite {
    if !controls.x2apic {
        return MsrWrite::Physical;
    }
    match msr {
        TPR | SELF_IPI if value > 0xff && (msr == TPR || controls.delivery) => MsrWrite::Fault,
        TPR => MsrWrite::Virtualized(AfterWrite::Tpr),
        EOI if controls.delivery && value != 0 => MsrWrite::Fault,
        EOI if controls.delivery => MsrWrite::Virtualized(AfterWrite::Eoi),
        SELF_IPI if controls.delivery => {
            let vector = value.to_le_bytes()[0];
            let then = if vector < 16 {
                AfterWrite::Exit(ApicRegister::SelfIpi.offset())
            } else {
                AfterWrite::SelfIpi(vector)
            };
            MsrWrite::Virtualized(then)
        }
        ICR if controls.ipis => {
            let icr = Icr::from_bits(value);
            if icr.low() & !Icr::WRITABLE_LOW != 0 {
                return MsrWrite::Fault;
            }
            MsrWrite::Virtualized(Command::of_msr(controls, icr).after_write())
        }
        _ => MsrWrite::Physical,
    }
}

/// Which accesses to the local APIC's MSRs exit: all but those of a list of what is known to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsrIntercepts {
    controls: ApicvControls,
}

impl MsrIntercepts {
    /// What to intercept under `controls`.
    #[must_use]
    pub const fn new(controls: ApicvControls) -> Self {
        Self { controls }
    }

    /// Whether an RDMSR must exit. It need not if it reads the page, there is such a register, software may read it, and
    /// the page holds its value: PPR and the timer's current count are worked out by the hypervisor, and the initial count
    /// goes with the latter.
    #[must_use]
    pub fn read_exits(self, msr: u32) -> bool {
        let is_in_page = match ApicRegister::of_msr(msr) {
            None
            | Some(
                ApicRegister::ProcessorPriority
                | ApicRegister::TimerInitialCount
                | ApicRegister::TimerCurrentCount
                // The page has it in two slots; eight bytes of the first give the lower half alone.
                | ApicRegister::IcrLow
                | ApicRegister::Lvt(LvtEntry::Cmci),
            ) => false,
            Some(register) => matches!(register.x2apic_access(), ApicAccess::ReadOnly | ApicAccess::ReadWrite),
        };
        !is_in_page || read_msr(self.controls, msr) == MsrRead::Physical
    }

    /// Whether a WRMSR must exit: always, unless the processor does all there is to do.
    #[must_use]
    pub fn write_exits(self, msr: u32) -> bool {
        let ApicvControls { x2apic, delivery, ipis, .. } = self.controls;
        let is_virtualized = match msr {
            TPR => true,
            EOI | SELF_IPI => delivery,
            ICR => ipis,
            _ => false,
        };
        !(x2apic && is_virtualized)
    }
}
