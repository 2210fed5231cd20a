//! Lines of emulated devices that a guest may use as physical IRQs.

use lock_api::RawMutex;

use crate::event::domain::Domain;
use crate::event::host::Host;

/// How a line of an emulated device reaches the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineWay {
    /// As an event: it is done.
    Event,
    /// By the guest's interrupt controllers, which the hypervisor drives.
    Controller,
}

impl<L: RawMutex> Domain<L> {
    /// A line of an emulated device becomes asserted (`assert_gsi`, `xen/arch/x86/hvm/irq.c`): an event if the guest has
    /// mapped the line to a physical IRQ, else the controllers' business.
    pub fn assert_line<H: Host<Lock = L>>(&self, host: &H, line: u8) -> LineWay {
        match self.pirqs.of_line(line) {
            Some(pirq) => {
                self.send_pirq(host, pirq);
                LineWay::Event
            }
            None => LineWay::Controller,
        }
    }
}
