//! Where a local APIC is, and in which mode (`IA32_APIC_BASE`, SDM vol. 3A, 11.4.4 and 11.12.1).

use bitfield_struct::bitfield;

/// The number of the MSR `IA32_APIC_BASE`.
pub const MSR_APIC_BASE: u32 = 0x1b;

/// The value of `IA32_APIC_BASE`.
#[bitfield(u64)]
#[derive(PartialEq, Eq, Hash)]
pub struct ApicBase {
    #[bits(8)]
    __: u8,
    /// BSP: this is the bootstrap processor.
    pub bootstrap: bool,
    #[bits(1)]
    __: u8,
    /// EXTD: x2APIC mode; valid only together with `enabled`.
    pub extended: bool,
    /// EN: the local APIC is there.
    pub enabled: bool,
    /// The physical address of the register page, shifted right by 12.
    #[bits(52)]
    pub frame: u64,
}

/// How a local APIC is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApicMode {
    /// The processor behaves as if it had none.
    Disabled,
    /// By a page of memory.
    XApic,
    /// By MSRs.
    X2Apic,
}

impl ApicBase {
    /// The page after reset.
    pub const DEFAULT_FRAME: u64 = 0xfee00;

    /// The mode the value asks for; none for EXTD without EN, which no processor accepts.
    #[must_use]
    pub const fn mode(self) -> Option<ApicMode> {
        match (self.enabled(), self.extended()) {
            (false, false) => Some(ApicMode::Disabled),
            (true, false) => Some(ApicMode::XApic),
            (true, true) => Some(ApicMode::X2Apic),
            (false, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ApicBase;
    use super::ApicMode;

    #[test]
    fn the_bootstrap_processor_comes_up_in_xapic_mode_at_fee00000() {
        let reset = ApicBase::from(0xfee0_0900);
        assert!(reset.bootstrap());
        assert_eq!(reset.frame(), ApicBase::DEFAULT_FRAME);
        assert_eq!(reset.mode(), Some(ApicMode::XApic));
    }

    #[test]
    fn extended_without_enabled_is_no_mode() {
        assert_eq!(ApicBase::new().with_extended(true).mode(), None);
        assert_eq!(ApicBase::new().with_extended(true).with_enabled(true).mode(), Some(ApicMode::X2Apic));
        assert_eq!(ApicBase::new().mode(), Some(ApicMode::Disabled));
    }
}
