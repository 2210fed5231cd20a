//! The hypervisor's IRQs, as far as a guest without devices needs them: numbers for its own lines and messages.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_lib::event::Interrupts;
use hypervisor_lib::event::MessageError;
use hypervisor_lib::event::MessageSource;
use hypervisor_lib::event::Permission;
use lock_api::RawMutex;

use crate::machine::Machine;

impl<L: RawMutex> Interrupts for Machine<L> {
    fn lines(&self) -> u32 {
        24
    }

    fn irqs(&self) -> u32 {
        24
    }

    fn offers_pirqs(&self, _: DomainId) -> bool {
        true
    }

    fn has_iommu(&self, _: DomainId) -> bool {
        false
    }

    fn remaps_interrupts(&self) -> bool {
        false
    }

    fn may_use_irq(&self, _: DomainId, _: u32) -> bool {
        false
    }

    fn permit_irq(&self, _: DomainId, _: u32, _: Permission) -> Result<(), Errno> {
        Err(Errno::NotPermitted)
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

    fn is_shared(&self, _: u32) -> bool {
        false
    }

    fn is_line_asserted(&self, _: DomainId, _: u8) -> bool {
        false
    }
}
