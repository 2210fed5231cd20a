//! The VM-execution and VM-exit controls that decide how interrupts and the APIC are virtualized
//! (SDM vol. 3C, 25.6.1, 25.6.2 and 25.7.1).

use bitfield_struct::bitfield;

/// The pin-based VM-execution controls (SDM vol. 3C, table 25-5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct PinBased {
    /// External interrupts exit; otherwise the guest takes them through its own IDT.
    pub external_interrupt_exiting: bool,
    #[bits(6)]
    __: u8,
    /// The notification vector is no exit: the processor takes over what the descriptor holds.
    pub process_posted_interrupts: bool,
    #[bits(24)]
    __: u32,
}

/// The primary processor-based VM-execution controls (SDM vol. 3C, table 25-6).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Primary {
    #[bits(2)]
    __: u8,
    /// An exit as soon as the guest could take an interrupt.
    pub interrupt_window_exiting: bool,
    #[bits(4)]
    __: u8,
    /// HLT exits.
    pub hlt_exiting: bool,
    #[bits(9)]
    __: u16,
    /// The tertiary controls count; otherwise all of them are 0.
    pub activate_tertiary: bool,
    #[bits(3)]
    __: u8,
    /// CR8 and the task priority are the virtual-APIC page's.
    pub use_tpr_shadow: bool,
    #[bits(6)]
    __: u8,
    /// A bitmap says which MSR accesses exit; otherwise all do.
    pub use_msr_bitmaps: bool,
    #[bits(2)]
    __: u8,
    /// The secondary controls count; otherwise all of them are 0.
    pub activate_secondary: bool,
}

/// The secondary processor-based VM-execution controls (SDM vol. 3C, table 25-7).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Secondary {
    /// Accesses to the APIC-access page are virtualized, or exit.
    pub virtualize_apic_accesses: bool,
    #[bits(3)]
    __: u8,
    /// RDMSR and WRMSR of the APIC's MSRs are virtualized.
    pub virtualize_x2apic_mode: bool,
    #[bits(3)]
    __: u8,
    /// Reads and writes of most registers go to the virtual-APIC page.
    pub apic_register_virtualization: bool,
    /// The processor evaluates and delivers virtual interrupts.
    pub virtual_interrupt_delivery: bool,
    #[bits(22)]
    __: u32,
}

/// The tertiary processor-based VM-execution controls (SDM vol. 3C, table 25-8).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Tertiary {
    #[bits(4)]
    __: u8,
    /// Commands to other virtual processors are posted to them.
    pub ipi_virtualization: bool,
    #[bits(59)]
    __: u64,
}

/// The primary VM-exit controls (SDM vol. 3C, table 25-13).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ExitControls {
    #[bits(15)]
    __: u16,
    /// An exit by an external interrupt acknowledges it and stores its vector.
    pub acknowledge_interrupt_on_exit: bool,
    #[bits(16)]
    __: u16,
}

/// All controls that the model knows, as the VMCS holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// What concerns the interrupt pins.
    pub pin: PinBased,
    /// What concerns instructions, first word.
    pub primary: Primary,
    /// What concerns instructions, second word. [`Controls::secondary`] says what of it is in force.
    pub secondary: Secondary,
    /// What concerns instructions, third word. [`Controls::tertiary`] says what of it is in force.
    pub tertiary: Tertiary,
    /// What an exit does.
    pub exit: ExitControls,
}

impl Controls {
    /// The secondary controls in force: none unless the primary controls activate them.
    #[must_use]
    pub const fn secondary(&self) -> Secondary {
        if self.primary.activate_secondary() { self.secondary } else { Secondary::new() }
    }

    /// The tertiary controls in force: none unless the primary controls activate them.
    #[must_use]
    pub const fn tertiary(&self) -> Tertiary {
        if self.primary.activate_tertiary() { self.tertiary } else { Tertiary::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::Controls;
    use super::ExitControls;
    use super::PinBased;
    use super::Primary;
    use super::Secondary;
    use super::Tertiary;

    #[test]
    fn controls_have_the_bits_of_the_manual() {
        assert_eq!(u32::from(PinBased::new().with_external_interrupt_exiting(true)), 1);
        assert_eq!(u32::from(PinBased::new().with_process_posted_interrupts(true)), 1 << 7);
        assert_eq!(u32::from(Primary::new().with_interrupt_window_exiting(true)), 1 << 2);
        assert_eq!(u32::from(Primary::new().with_hlt_exiting(true)), 1 << 7);
        assert_eq!(u32::from(Primary::new().with_activate_tertiary(true)), 1 << 17);
        assert_eq!(u32::from(Primary::new().with_use_tpr_shadow(true)), 1 << 21);
        assert_eq!(u32::from(Primary::new().with_use_msr_bitmaps(true)), 1 << 28);
        assert_eq!(u32::from(Primary::new().with_activate_secondary(true)), 1 << 31);
        assert_eq!(u32::from(Secondary::new().with_virtualize_apic_accesses(true)), 1);
        assert_eq!(u32::from(Secondary::new().with_virtualize_x2apic_mode(true)), 1 << 4);
        assert_eq!(u32::from(Secondary::new().with_apic_register_virtualization(true)), 1 << 8);
        assert_eq!(u32::from(Secondary::new().with_virtual_interrupt_delivery(true)), 1 << 9);
        assert_eq!(u64::from(Tertiary::new().with_ipi_virtualization(true)), 1 << 4);
        assert_eq!(u32::from(ExitControls::new().with_acknowledge_interrupt_on_exit(true)), 1 << 15);
    }

    #[test]
    fn secondary_controls_that_are_not_activated_are_all_zero() {
        let mut controls = Controls { secondary: Secondary::from(u32::MAX), ..Controls::default() };
        assert_eq!(controls.secondary(), Secondary::new());
        controls.primary.set_activate_secondary(true);
        assert_eq!(controls.secondary(), Secondary::from(u32::MAX));
    }

    #[test]
    fn tertiary_controls_that_are_not_activated_are_all_zero() {
        let mut controls = Controls { tertiary: Tertiary::from(u64::MAX), ..Controls::default() };
        controls.primary.set_activate_secondary(true);
        assert_eq!(controls.tertiary(), Tertiary::new());
        controls.primary.set_activate_tertiary(true);
        assert_eq!(controls.tertiary(), Tertiary::from(u64::MAX));
    }
}
