//! The register page, as software or a tool would read it.

use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::SLOT_SIZE;

use super::local_apic::LocalApic;
use crate::delivery::time::Moment;

/// The slots of a page that hold registers: offsets 0 to 0x3ff.
pub const REGISTER_SLOTS: usize = 64;

/// The values of the registers, one a slot; what is not there, or cannot be read, is zero. In x2APIC mode the slot of ICR's
/// destination holds its upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApicPage(pub [u32; REGISTER_SLOTS]);

impl ApicPage {
    /// A register's value.
    #[must_use]
    pub fn get(&self, register: ApicRegister) -> u32 {
        self.0[slot(register)]
    }

    /// Sets a register's value.
    pub fn set(&mut self, register: ApicRegister, value: u32) {
        self.0[slot(register)] = value;
    }
}

impl LocalApic {
    /// The register page at this moment.
    #[must_use]
    pub fn page(&self, now: Moment) -> ApicPage {
        let mut page = ApicPage([0; REGISTER_SLOTS]);
        for offset in (0..0x400).step_by(usize::from(SLOT_SIZE)) {
            if let Some(register) = ApicRegister::at_offset(offset)
                && !matches!(register.xapic_access(), ApicAccess::Reserved | ApicAccess::WriteOnly)
            {
                page.set(register, self.read_register(register, now));
            }
        }
        page
    }
}

fn slot(register: ApicRegister) -> usize {
    usize::from(register.offset() / SLOT_SIZE)
}
