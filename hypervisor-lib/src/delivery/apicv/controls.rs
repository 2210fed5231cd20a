//! The VM-execution controls of APIC virtualization, and what a VM entry demands of them.

use core::fmt;

/// The controls that govern virtual interrupts (SDM vol. 3C, 25.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ApicvControls {
    /// "Use TPR shadow" (primary, bit 21).
    pub tpr_shadow: bool,
    /// "Virtualize APIC accesses" (secondary, bit 0): to the page.
    pub accesses: bool,
    /// "Virtualize x2APIC mode" (secondary, bit 4): of MSRs.
    pub x2apic: bool,
    /// "APIC-register virtualization" (secondary, bit 8).
    pub registers: bool,
    /// "Virtual-interrupt delivery" (secondary, bit 9).
    pub delivery: bool,
    /// "Process posted interrupts" (pin-based, bit 7).
    pub posting: bool,
    /// "IPI virtualization" (tertiary, bit 4).
    pub ipis: bool,
    /// "External-interrupt exiting" (pin-based, bit 0).
    pub external_interrupts_exit: bool,
    /// "Acknowledge interrupt on exit" (VM-exit control, bit 15).
    pub acknowledge_on_exit: bool,
}

/// Why a VM entry would fail: one control needs another, or excludes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Every other control of MSRs, registers, delivery and IPIs rests on the TPR shadow.
    #[error("{0} needs the TPR shadow")]
    NoTprShadow(Control),
    /// A guest's local APIC is in one mode.
    #[error("APIC accesses and x2APIC mode are virtualized both")]
    BothModes,
    /// Virtual-interrupt delivery needs external interrupts to exit.
    #[error("virtual-interrupt delivery needs external interrupts to exit")]
    InterruptsStay,
    /// Posted interrupts are delivered as virtual interrupts.
    #[error("posted-interrupt processing needs virtual-interrupt delivery")]
    PostingWithoutDelivery,
    /// Posted-interrupt processing needs the vector of what interrupted the guest.
    #[error("posted-interrupt processing needs interrupts to be acknowledged on exit")]
    PostingWithoutAcknowledge,
}

/// A control, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Virtualize x2APIC mode.
    X2Apic,
    /// APIC-register virtualization.
    Registers,
    /// Virtual-interrupt delivery.
    Delivery,
    /// IPI virtualization.
    Ipis,
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X2Apic => "virtualizing x2APIC mode",
            Self::Registers => "APIC-register virtualization",
            Self::Delivery => "virtual-interrupt delivery",
            Self::Ipis => "IPI virtualization",
        })
    }
}

impl ApicvControls {
    /// Checks the controls against each other as a VM entry does (SDM vol. 3C, 26.2.1.1).
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(self) -> Result<(), EntryFault> {
        let rest_on_shadow = [
            (self.x2apic, Control::X2Apic),
            (self.registers, Control::Registers),
            (self.delivery, Control::Delivery),
            (self.ipis, Control::Ipis),
        ];
        match rest_on_shadow.into_iter().find(|(is_on, _)| *is_on && !self.tpr_shadow) {
            Some((_, control)) => Err(EntryFault::NoTprShadow(control)),
            None if self.x2apic && self.accesses => Err(EntryFault::BothModes),
            None if self.delivery && !self.external_interrupts_exit => Err(EntryFault::InterruptsStay),
            None if self.posting && !self.delivery => Err(EntryFault::PostingWithoutDelivery),
            None if self.posting && !self.acknowledge_on_exit => Err(EntryFault::PostingWithoutAcknowledge),
            None => Ok(()),
        }
    }

    /// Every combination there is, whether an entry takes it or not.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..1_u16 << 9).map(|bits| {
            let bit = |number: u16| bits >> number & 1 == 1;
            Self {
                tpr_shadow: bit(0),
                accesses: bit(1),
                x2apic: bit(2),
                registers: bit(3),
                delivery: bit(4),
                posting: bit(5),
                ipis: bit(6),
                external_interrupts_exit: bit(7),
                acknowledge_on_exit: bit(8),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ApicvControls;
    use super::Control;
    use super::EntryFault;

    #[test]
    fn exactly_the_combinations_that_break_no_rule_are_taken() {
        for controls in ApicvControls::all() {
            let c = controls;
            let shadowless = !c.tpr_shadow && (c.x2apic || c.registers || c.delivery || c.ipis);
            let is_bad = shadowless
                || c.x2apic && c.accesses
                || c.delivery && !c.external_interrupts_exit
                || c.posting && !(c.delivery && c.acknowledge_on_exit);
            assert_eq!(c.check().is_err(), is_bad, "{c:?}");
        }
        // Without the TPR shadow; with it, without virtual-interrupt delivery; with both.
        assert_eq!(ApicvControls::all().filter(|controls| controls.check().is_ok()).count(), 8 + 48 + 36);
    }

    #[test]
    fn a_fault_names_the_rule() {
        let delivery = ApicvControls { delivery: true, ..ApicvControls::default() };
        assert_eq!(delivery.check(), Err(EntryFault::NoTprShadow(Control::Delivery)));
        let stay = ApicvControls { tpr_shadow: true, ..delivery };
        assert_eq!(stay.check(), Err(EntryFault::InterruptsStay));
        let posting = ApicvControls { posting: true, external_interrupts_exit: true, ..stay };
        assert_eq!(posting.check(), Err(EntryFault::PostingWithoutAcknowledge));
    }
}
