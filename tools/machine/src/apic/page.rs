//! The registers of a virtual local APIC: one page, which the hypervisor's engine lends to the processor's model.

use alloc::sync::Arc;

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;

use crate::vmx::PageOffset;
use crate::vmx::RegisterPage;
use crate::vmx::VectorRegister;
use crate::vmx::VirtualVector;

/// A page that hypervisor and processor share. Of a slot only what a register can hold is kept: four bytes, of ICR eight.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedPage(pub(super) Arc<BackingPage>);

impl RegisterPage for SharedPage {
    fn word(&self, offset: PageOffset) -> u32 {
        let cell = match offset.bytes() & 0xc {
            0 => self.0.slot(offset.bytes()),
            4 => ApicRegister::at_offset(offset.slot().bytes()).map(|register| &self.0.register_slot(register).upper),
            _ => None,
        };
        cell.map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn set_word(&mut self, offset: PageOffset, value: u32) {
        let cell = match offset.bytes() & 0xc {
            0 => self.0.slot(offset.bytes()),
            4 => ApicRegister::at_offset(offset.slot().bytes()).map(|register| &self.0.register_slot(register).upper),
            _ => None,
        };
        if let Some(cell) = cell {
            cell.store(value, Ordering::Relaxed);
        }
    }

    fn highest(&self, register: VectorRegister) -> Option<VirtualVector> {
        let bits = match register {
            VectorRegister::InService => VectorBits::InService,
            VectorRegister::Request => VectorBits::InterruptRequest,
        };
        self.0.highest(bits).map(VirtualVector)
    }
}

#[cfg(test)]
mod tests {
    use super::SharedPage;
    use crate::vmx::PageOffset;
    use crate::vmx::RegisterPage as _;
    use crate::vmx::VectorRegister;
    use crate::vmx::VirtualApicPage;
    use crate::vmx::VirtualVector;

    #[test]
    fn a_shared_page_holds_what_one_of_plain_memory_holds() {
        let (mut shared, mut plain) = (SharedPage::default(), VirtualApicPage::new());
        for number in 0..=255 {
            let vector = VirtualVector(number);
            for register in [VectorRegister::InService, VectorRegister::Request] {
                shared.insert(register, vector);
                plain.insert(register, vector);
                assert_eq!(shared.highest(register), plain.highest(register));
                assert!(shared.contains(register, vector));
                shared.remove(register, vector);
                plain.remove(register, vector);
                assert_eq!(shared.highest(register), None);
            }
        }
        for (offset, value) in [(0x080, 0x21), (0x0a0, 0x30), (0x300, 0x4051), (0x304, 7), (0x310, 9)] {
            let offset = PageOffset::of_address(offset);
            shared.set_word(offset, value);
            plain.set_word(offset, value);
        }
        for address in (0..0x400).step_by(4) {
            let offset = PageOffset::of_address(address);
            assert_eq!(shared.word(offset), plain.word(offset), "{offset}");
        }
    }
}
