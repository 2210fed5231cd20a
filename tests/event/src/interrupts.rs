//! The hypervisor's IRQs, as far as hostile guests get to them: lines 0 to 3, which are dom0's, and no device.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_lib::event::Interrupts;
use hypervisor_lib::event::MessageError;
use hypervisor_lib::event::MessageSource;
use hypervisor_lib::event::Permission;
use lock_api::RawMutex;

use crate::world::View;
use crate::world::World;

const LINES: u32 = 4;

impl<M: View, L: RawMutex> Interrupts for World<M, L> {
    fn lines(&self) -> u32 {
        LINES
    }

    fn irqs(&self) -> u32 {
        2 * LINES
    }

    fn offers_pirqs(&self, _: DomainId) -> bool {
        true
    }

    fn has_iommu(&self, _: DomainId) -> bool {
        true
    }

    fn remaps_interrupts(&self) -> bool {
        true
    }

    fn may_use_irq(&self, domain: DomainId, irq: u32) -> bool {
        domain == DomainId::DOM0 && irq < LINES
    }

    fn permit_irq(&self, domain: DomainId, _: u32, _: Permission) -> Result<(), Errno> {
        assert_eq!(domain, DomainId::DOM0, "nobody else gets an IRQ: dom0 gives none away");
        Ok(())
    }

    fn create_irq(&self, _: DomainId) -> Option<u32> {
        None
    }

    fn destroy_irq(&self, irq: u32) {
        panic!("irq {irq} was never created");
    }

    fn enable_messages(&self, _: DomainId, _: MessageSource, _: u32) -> Result<(), MessageError> {
        Err(MessageError::Refused(Errno::NoDevice))
    }

    fn program_message(&self, _: u32, _: MessageSource, _: u32) -> Result<(), Errno> {
        Err(Errno::NoSpace)
    }

    fn disable_messages(&self, source: MessageSource) {
        panic!("the messages of {source:?} were never switched on");
    }

    fn is_shared(&self, irq: u32) -> bool {
        irq == 2
    }

    fn is_line_asserted(&self, _: DomainId, line: u8) -> bool {
        line.is_multiple_of(2)
    }
}
