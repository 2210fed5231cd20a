//! VMRUN: what it checks of AVIC's fields (APM vol. 2, 15.5.1 and 15.29.5), and what it does for virtual interrupts.

use hypervisor_abi::avic::BackingPage;

use super::Guest;
use super::NestedPaging;
use super::vmcb::Mode;

/// The greatest index of a physical table in xAVIC mode.
const XAVIC_LIMIT: u16 = 255;

/// Why VMRUN failed, with VMEXIT_INVALID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// MSRs are to be virtualized without AVIC.
    #[error("x2AVIC is on without AVIC")]
    X2AvicAlone,
    /// There is no nested paging.
    #[error("AVIC is on without nested paging")]
    NoNestedPaging,
    /// The table is longer than the mode allows.
    #[error("greatest index {index} of the physical table is above {limit}")]
    MaxIndex {
        /// The greatest index.
        index: u16,
        /// What it may be.
        limit: u16,
    },
    /// The backing page or a table is no page, or beyond the physical addresses there are.
    #[error("{0:#x} is not page-aligned or beyond the physical-address width")]
    Address(u64),
}

impl Guest {
    /// VMRUN. It looks at the IRR, whatever has or has not been rung before.
    ///
    /// Checks of the guest's state, and event injection, are not modelled.
    ///
    /// # Errors
    /// [`EntryFault`] if AVIC's fields contradict each other; the guest is not entered.
    pub fn enter(&mut self, page: &BackingPage) -> Result<(), EntryFault> {
        self.check_entry()?;
        if self.mode() != Mode::Off {
            self.update_ppr(page);
            self.evaluate(page);
        }
        Ok(())
    }

    /// The checks of VMRUN that concern AVIC.
    ///
    /// # Errors
    /// The first [`EntryFault`] found.
    pub fn check_entry(&self) -> Result<(), EntryFault> {
        let vmcb = &self.vmcb;
        let limit = match self.mode() {
            Mode::Off if vmcb.control.x2avic() => return Err(EntryFault::X2AvicAlone),
            Mode::Off => return Ok(()),
            Mode::Page => XAVIC_LIMIT,
            Mode::Msrs => self.processor.x2avic_limit,
        };
        if vmcb.nested_paging == NestedPaging::Off {
            return Err(EntryFault::NoNestedPaging);
        }
        let index = vmcb.physical_table.max_index();
        if index > limit {
            return Err(EntryFault::MaxIndex { index, limit });
        }
        let addresses = [vmcb.backing_page, vmcb.logical_table, vmcb.physical_table.frame() << 12];
        let misplaced = addresses.into_iter().find(|address| !self.processor.width.holds(*address, 4096));
        misplaced.map_or(Ok(()), |address| Err(EntryFault::Address(address)))
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::avic::BackingPage;
    use hypervisor_abi::avic::InterruptControl;
    use hypervisor_abi::avic::PhysicalTablePointer;

    use super::EntryFault;
    use crate::svm::Guest;
    use crate::svm::NestedPaging;
    use crate::svm::Processor;
    use crate::svm::Vmcb;
    use crate::vmx::PhysicalWidth;

    fn entered(bits: u64, change: impl FnOnce(&mut Vmcb)) -> Result<(), EntryFault> {
        let nested_paging = NestedPaging::On;
        let mut vmcb = Vmcb { control: InterruptControl::from(bits), nested_paging, ..Vmcb::default() };
        change(&mut vmcb);
        let processor = Processor { width: PhysicalWidth(48), x2avic_limit: 511, ..Processor::default() };
        Guest::new(vmcb, processor).enter(&BackingPage::default())
    }

    const OFF: u64 = 0;
    const XAVIC: u64 = 1 << 31;
    const X2AVIC: u64 = 3 << 30;

    #[test]
    fn x2avic_needs_avic_and_avic_nested_paging() {
        for bits in [OFF, XAVIC, X2AVIC] {
            assert_eq!(entered(bits, |_| ()), Ok(()));
        }
        assert_eq!(entered(1 << 30, |_| ()), Err(EntryFault::X2AvicAlone));
        for bits in [XAVIC, X2AVIC] {
            assert_eq!(entered(bits, |vmcb| vmcb.nested_paging = NestedPaging::Off), Err(EntryFault::NoNestedPaging));
        }
        assert_eq!(entered(OFF, |vmcb| vmcb.nested_paging = NestedPaging::Off), Ok(()));
    }

    #[test]
    fn a_table_is_no_longer_than_its_mode_allows_and_lies_in_memory() {
        for (bits, limit) in [(XAVIC, 255), (X2AVIC, 511)] {
            let index = |index| entered(bits, |vmcb| vmcb.physical_table.set_max_index(index));
            assert_eq!(index(limit), Ok(()));
            assert_eq!(index(limit + 1), Err(EntryFault::MaxIndex { index: limit + 1, limit }));
            let misplaced = [1 << 48, 0x1800].map(|address| {
                assert_eq!(entered(bits, |vmcb| vmcb.backing_page = address), Err(EntryFault::Address(address)));
                entered(bits, |vmcb| vmcb.logical_table = address)
            });
            assert_eq!(misplaced, [Err(EntryFault::Address(1 << 48)), Err(EntryFault::Address(0x1800))]);
            let table = PhysicalTablePointer::new().with_frame(1 << 36);
            assert_eq!(entered(bits, |vmcb| vmcb.physical_table = table), Err(EntryFault::Address(1 << 48)));
        }
    }
}
