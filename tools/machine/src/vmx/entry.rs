//! VM entry: what it checks of the controls (SDM vol. 3C, 27.2.1.1), and what it does for virtual interrupts
//! (27.3.2.5, 27.7.7).

use super::Exit;
use super::Guest;
use crate::Recognition;

/// How many bits a physical address has, as CPUID says (leaf 0x8000_0008).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhysicalWidth(pub u8);

/// Why a VM entry failed with VM-instruction error 7, "VM entry with invalid control fields" (SDM vol. 3C, 31.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// The virtual-APIC page is not a page, or no memory.
    #[error("virtual-APIC address {0:#x} is not page-aligned or beyond the physical-address width")]
    VirtualApicAddress(u64),
    /// The TPR threshold has a reserved bit set.
    #[error("TPR threshold {0:#x} has a bit of 31:4 set")]
    ThresholdReserved(u32),
    /// The threshold is above the task priority, and nothing would report it.
    #[error("TPR threshold {threshold:#x} is above the class of VTPR {vtpr:#04x}")]
    ThresholdAboveTpr {
        /// The TPR threshold.
        threshold: u32,
        /// VTPR.
        vtpr: u8,
    },
    /// A control that needs the TPR shadow is set without it.
    #[error("x2APIC mode, APIC-register, interrupt-delivery or IPI virtualization without TPR shadow")]
    NoTprShadow,
    /// The APIC-access page is not a page, or no memory.
    #[error("APIC-access address {0:#x} is not page-aligned or beyond the physical-address width")]
    ApicAccessAddress(u64),
    /// The guest is to reach its APIC both by memory and by MSR.
    #[error("virtualize APIC accesses and virtualize x2APIC mode exclude each other")]
    BothModes,
    /// External interrupts would reach the guest beside virtual ones.
    #[error("virtual-interrupt delivery without external-interrupt exiting")]
    NoExternalInterruptExiting,
    /// Posted interrupts would have nowhere to go.
    #[error("posted-interrupt processing without virtual-interrupt delivery")]
    PostingWithoutDelivery,
    /// A notification would stay in the local APIC.
    #[error("posted-interrupt processing without acknowledge interrupt on exit")]
    PostingWithoutAcknowledge,
    /// The notification vector is none.
    #[error("notification vector {0:#x} is above 255")]
    NotificationVector(u16),
    /// The PID-pointer table is misplaced, or its last entry is.
    #[error("PID-pointer table {0:#x} is not 8-byte-aligned or ends beyond the physical-address width")]
    PidPointerTable(u64),
    /// The descriptor is misplaced.
    #[error("posted-interrupt descriptor {0:#x} is not 64-byte-aligned or beyond the physical-address width")]
    DescriptorAddress(u64),
}

impl PhysicalWidth {
    pub(super) const fn holds(self, address: u64, alignment: u64) -> bool {
        let beyond = if self.0 < 64 { address >> self.0 } else { 0 };
        address.is_multiple_of(alignment) && beyond == 0
    }
}

impl Guest {
    /// VM entry on a processor whose physical addresses have `width` bits. The exit it returns, if any, comes before the
    /// guest's first instruction.
    ///
    /// Checks of the host and guest state, and event injection, are not modelled.
    ///
    /// # Errors
    /// [`EntryFault`] if the controls contradict each other; the guest is not entered.
    pub fn enter(&mut self, width: PhysicalWidth) -> Result<Option<Exit>, EntryFault> {
        self.check_entry(width)?;
        self.recognition = Recognition::NotRecognised;
        if self.delivers() {
            self.virtualize_ppr();
            self.evaluate();
            return Ok(None);
        }
        // Without APIC accesses virtualized the check has refused this already (SDM vol. 3C, 27.7.7).
        let exits = self.shadows_tpr() && self.is_below_threshold();
        Ok(exits.then_some(Exit::TprBelowThreshold))
    }

    /// The checks on VM-execution control fields that concern the APIC (SDM vol. 3C, 27.2.1.1).
    ///
    /// # Errors
    /// The first [`EntryFault`] found.
    pub fn check_entry(&self, width: PhysicalWidth) -> Result<(), EntryFault> {
        let vmcs = &self.vmcs;
        let pin = vmcs.controls.pin;
        let secondary = vmcs.controls.secondary();
        if self.shadows_tpr() {
            self.check_tpr_shadow(width)?;
        } else if secondary.virtualize_x2apic_mode()
            || secondary.apic_register_virtualization()
            || secondary.virtual_interrupt_delivery()
            || self.virtualizes_ipis()
        {
            return Err(EntryFault::NoTprShadow);
        }
        if secondary.virtualize_apic_accesses() {
            if secondary.virtualize_x2apic_mode() {
                return Err(EntryFault::BothModes);
            }
            if !width.holds(vmcs.apic_access_address, 4096) {
                return Err(EntryFault::ApicAccessAddress(vmcs.apic_access_address));
            }
        }
        if self.delivers() && !pin.external_interrupt_exiting() {
            return Err(EntryFault::NoExternalInterruptExiting);
        }
        if self.virtualizes_ipis() {
            self.check_ipis(width)?;
        }
        if pin.process_posted_interrupts() { self.check_posting(width) } else { Ok(()) }
    }

    fn check_ipis(&self, width: PhysicalWidth) -> Result<(), EntryFault> {
        let table = self.vmcs.pid_pointer_table;
        let last = table.wrapping_add(u64::from(self.vmcs.last_pid_pointer) << 3);
        if width.holds(table, 8) && width.holds(last, 8) { Ok(()) } else { Err(EntryFault::PidPointerTable(table)) }
    }

    fn check_tpr_shadow(&self, width: PhysicalWidth) -> Result<(), EntryFault> {
        let vmcs = &self.vmcs;
        if !width.holds(vmcs.virtual_apic_address, 4096) {
            return Err(EntryFault::VirtualApicAddress(vmcs.virtual_apic_address));
        }
        if self.delivers() {
            return Ok(());
        }
        if vmcs.tpr_threshold >> 4 != 0 {
            return Err(EntryFault::ThresholdReserved(vmcs.tpr_threshold));
        }
        if !vmcs.controls.secondary().virtualize_apic_accesses() && self.is_below_threshold() {
            return Err(EntryFault::ThresholdAboveTpr { threshold: vmcs.tpr_threshold, vtpr: self.page.vtpr() });
        }
        Ok(())
    }

    fn check_posting(&self, width: PhysicalWidth) -> Result<(), EntryFault> {
        let vmcs = &self.vmcs;
        if !self.delivers() {
            return Err(EntryFault::PostingWithoutDelivery);
        }
        if !vmcs.controls.exit.acknowledge_interrupt_on_exit() {
            return Err(EntryFault::PostingWithoutAcknowledge);
        }
        if vmcs.notification_vector > 255 {
            return Err(EntryFault::NotificationVector(vmcs.notification_vector));
        }
        if !width.holds(vmcs.descriptor_address, 64) {
            return Err(EntryFault::DescriptorAddress(vmcs.descriptor_address));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::EntryFault;
    use super::PhysicalWidth;
    use crate::Recognition;
    use crate::vmx::Exit;
    use crate::vmx::Guest;
    use crate::vmx::PageOffset;
    use crate::vmx::VirtualApicPage;
    use crate::vmx::VirtualVector;
    use crate::vmx::Vmcs;
    use crate::vmx::guest::tests::delivering;

    const WIDTH: PhysicalWidth = PhysicalWidth(40);

    fn posting() -> Guest {
        let mut guest = delivering();
        guest.vmcs.controls.pin.set_process_posted_interrupts(true);
        guest.vmcs.descriptor_address = 0x2040;
        guest.vmcs.notification_vector = 0xf2;
        guest
    }

    fn fault(change: impl FnOnce(&mut Guest)) -> Option<EntryFault> {
        let mut guest = posting();
        change(&mut guest);
        guest.enter(WIDTH).err()
    }

    #[test]
    fn controls_that_contradict_each_other_are_refused_one_by_one() {
        assert_eq!(fault(|_| ()), None);
        let faults = [
            fault(|guest| guest.vmcs.virtual_apic_address = 0x1010),
            fault(|guest| guest.vmcs.virtual_apic_address = 1 << 40),
            fault(|guest| guest.vmcs.apic_access_address = 0x1800),
            fault(|guest| guest.vmcs.controls.secondary.set_virtualize_x2apic_mode(true)),
            fault(|guest| guest.vmcs.controls.primary.set_use_tpr_shadow(false)),
            fault(|guest| guest.vmcs.controls.pin.set_external_interrupt_exiting(false)),
            fault(|guest| guest.vmcs.controls.secondary.set_virtual_interrupt_delivery(false)),
            fault(|guest| guest.vmcs.controls.exit.set_acknowledge_interrupt_on_exit(false)),
            fault(|guest| guest.vmcs.notification_vector = 0x100),
            fault(|guest| guest.vmcs.descriptor_address = 0x2020),
        ];
        let expected = [
            EntryFault::VirtualApicAddress(0x1010),
            EntryFault::VirtualApicAddress(1 << 40),
            EntryFault::ApicAccessAddress(0x1800),
            EntryFault::BothModes,
            EntryFault::NoTprShadow,
            EntryFault::NoExternalInterruptExiting,
            EntryFault::PostingWithoutDelivery,
            EntryFault::PostingWithoutAcknowledge,
            EntryFault::NotificationVector(0x100),
            EntryFault::DescriptorAddress(0x2020),
        ];
        assert_eq!(faults, expected.map(Some));
    }

    #[test]
    fn ipi_virtualization_needs_a_shadow_and_a_table_that_ends_within_memory() {
        let sending = |change: fn(&mut Guest)| {
            fault(|guest| {
                guest.vmcs.controls.primary.set_activate_tertiary(true);
                guest.vmcs.controls.tertiary.set_ipi_virtualization(true);
                guest.vmcs.pid_pointer_table = (1 << 40) - 4096;
                guest.vmcs.last_pid_pointer = 511;
                change(guest);
            })
        };
        assert_eq!(sending(|_| ()), None);
        let table = |address| Some(EntryFault::PidPointerTable(address));
        assert_eq!(sending(|guest| guest.vmcs.last_pid_pointer = 512), table((1 << 40) - 4096));
        assert_eq!(sending(|guest| guest.vmcs.pid_pointer_table = 0x1004), table(0x1004));
        assert_eq!(sending(|guest| guest.vmcs.pid_pointer_table = 1 << 40), table(1 << 40));
        assert_eq!(sending(|guest| guest.vmcs.pid_pointer_table = u64::MAX - 7), table(u64::MAX - 7));
        let mut alone = Guest::new(Vmcs::default(), VirtualApicPage::new());
        alone.vmcs.controls.primary.set_activate_tertiary(true);
        alone.vmcs.controls.tertiary.set_ipi_virtualization(true);
        assert_eq!(alone.enter(WIDTH), Err(EntryFault::NoTprShadow));
    }

    #[test]
    fn secondary_controls_that_are_not_activated_are_not_checked() {
        let mut guest = delivering();
        guest.vmcs.controls.primary.set_activate_secondary(false);
        guest.vmcs.controls.primary.set_use_tpr_shadow(false);
        assert_eq!(guest.enter(WIDTH), Ok(None));
    }

    #[test]
    fn a_threshold_above_the_task_priority_exits_at_once_or_is_refused() {
        let mut guest = delivering();
        guest.vmcs.controls.secondary.set_virtual_interrupt_delivery(false);
        guest.vmcs.tpr_threshold = 5;
        guest.page.set_word(PageOffset::VTPR, 0x4f);
        assert_eq!(guest.enter(WIDTH), Ok(Some(Exit::TprBelowThreshold)));
        guest.vmcs.controls.secondary.set_virtualize_apic_accesses(false);
        assert_eq!(guest.enter(WIDTH), Err(EntryFault::ThresholdAboveTpr { threshold: 5, vtpr: 0x4f }));
        guest.page.set_word(PageOffset::VTPR, 0x50);
        assert_eq!(guest.enter(WIDTH), Ok(None));
        guest.vmcs.tpr_threshold = 0x10;
        assert_eq!(guest.enter(WIDTH), Err(EntryFault::ThresholdReserved(0x10)));
        guest.vmcs.controls.secondary.set_virtual_interrupt_delivery(true);
        assert_eq!(guest.enter(WIDTH), Ok(None), "the threshold counts for nothing then");
    }

    #[test]
    fn an_entry_works_out_the_priority_and_evaluates() {
        let mut guest = delivering();
        guest.vmcs.status.set_svi(VirtualVector(0x45));
        guest.vmcs.status.set_rvi(VirtualVector(0x50));
        guest.page.set_word(PageOffset::VTPR, 0x21);
        guest.page.set_word(PageOffset::VPPR, 0xffff_ffff);
        assert_eq!(guest.enter(WIDTH), Ok(None));
        assert_eq!(guest.page.word(PageOffset::VPPR), 0x40);
        assert_eq!(guest.recognition(), Recognition::Recognised);
    }
}
