//! `IA32_APIC_BASE`: where the page is, and the changes of mode (SDM vol. 3A, 11.4.4, 11.12.1, 11.12.5).

use hypervisor_abi::apic::ApicBase;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::MSR_APIC_BASE;

use super::access::MsrFault;
use super::local_apic::LocalApic;
use crate::delivery::host::Action;
use crate::delivery::host::Host;

/// Bits 7:0 and 9.
const RESERVED_LOW: u64 = 0x2ff;

impl LocalApic {
    /// A write of `IA32_APIC_BASE`. Disabling loses all registers but the number.
    ///
    /// # Errors
    /// A reserved bit, or a change between modes that is not allowed; each is a general-protection fault, and nothing has
    /// changed.
    pub fn write_base<H: Host>(&mut self, value: u64, host: &H) -> Result<(), MsrFault> {
        let reserved = RESERVED_LOW | !low_bits(self.config.physical_bits);
        if value & reserved != 0 {
            return Err(MsrFault::ReservedBits { msr: MSR_APIC_BASE, value });
        }
        let wanted = ApicBase::from(value);
        let (from, to) = (self.mode(), wanted.mode());
        match (from, to) {
            (_, Some(ApicMode::X2Apic)) if !self.config.features.x2apic => {
                return Err(MsrFault::ReservedBits { msr: MSR_APIC_BASE, value });
            }
            (ApicMode::Disabled, Some(ApicMode::X2Apic)) | (ApicMode::X2Apic, Some(ApicMode::XApic)) | (_, None) => {
                return Err(MsrFault::Transition { from, value });
            }
            (_, Some(to)) => self.change_base(wanted, from, to, host),
        }
        Ok(())
    }

    fn change_base<H: Host>(&mut self, wanted: ApicBase, from: ApicMode, to: ApicMode, host: &H) {
        let before = core::mem::replace(&mut self.base, wanted);
        match (from, to) {
            (_, ApicMode::Disabled) if from != to => self.clear(host),
            (ApicMode::XApic, ApicMode::X2Apic) => {
                // The half with the destination does not survive; everything else does (SDM vol. 3A, 11.12.5.1).
                self.icr = self.icr.with_destination(0);
                self.enter_mode();
                self.publish(host);
            }
            _ if from != to => {
                self.update_pins();
                self.publish(host);
            }
            _ => {}
        }
        if before.frame() != wanted.frame() || from != to {
            host.act(Action::BaseChanged(wanted));
        }
    }
}

/// A mask of the lowest `count` bits.
fn low_bits(count: u8) -> u64 {
    1_u64.checked_shl(count.into()).map_or(u64::MAX, |bit| bit - 1)
}
