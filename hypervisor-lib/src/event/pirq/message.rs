//! Messages an emulated device sends: to a vector, or by vector 0 to a physical IRQ.

use hypervisor_abi::sync::Ordering;
use lock_api::RawMutex;

use super::PirqError;
use super::Use;
use crate::event::domain::Domain;
use crate::event::host::Host;

/// The physical IRQ a guest's emulated MSI stands for: one with vector 0, whatever its delivery mode (R-33: such a message
/// looks like ExtINT). The number's low 8 bits are the destination, the others bits 31:8 of the address's upper half.
///
/// `None` for an ordinary MSI.
#[must_use]
pub const fn pirq_of_msi(address: u64, data: u32) -> Option<u32> {
    if data & 0xff != 0 {
        return None;
    }
    let [_, low_8, low_16, _, _, high_8, high_16, high_24] = address.to_le_bytes();
    let destination = low_16 << 4 | low_8 >> 4;
    Some(u32::from_le_bytes([destination, high_8, high_16, high_24]))
}

/// How a message of an emulated device reaches the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageWay {
    /// As an event: it is done.
    Event,
    /// By its vector: the hypervisor hands it to the local APICs it addresses.
    Vector,
}

impl<L: RawMutex> Domain<L> {
    /// A device model sends a message (`hvm_inject_msi`, `xen/arch/x86/hvm/irq.c`). One that names a physical IRQ becomes
    /// an event; the first makes the number one for messages.
    ///
    /// # Errors
    /// The message names no number that can be; the domain is paravirtual, or the number is out of its range; it is used for
    /// something else. In this order.
    pub fn inject_message<H: Host<Lock = L>>(
        &self,
        host: &H,
        address: u64,
        data: u32,
    ) -> Result<MessageWay, PirqError> {
        let Some(pirq) = pirq_of_msi(address, data) else { return Ok(MessageWay::Vector) };
        if !i32::try_from(pirq).is_ok_and(|pirq| pirq > 0) {
            return Err(PirqError::Unaddressable(address));
        }
        if self.pirqs.usage(pirq) == Use::None {
            self.use_pirq(&self.lock(), pirq, Use::EmulatedMessage)?;
        }
        if self.pirqs.usage(pirq) != Use::EmulatedMessage {
            return Err(PirqError::NotAMessage(self.id, pirq));
        }
        self.send_pirq(host, pirq);
        Ok(MessageWay::Event)
    }

    /// Whether the guest uses a number as a physical IRQ, so that what is behind it becomes an event
    /// (`hvm_domain_use_pirq`).
    #[must_use]
    pub fn uses_pirq(&self, pirq: u32) -> bool {
        self.pirqs.usage(pirq) != Use::None
    }

    /// Whether events of a domain's physical IRQs are unmasked by their EOI.
    pub(super) fn unmasks_at_eoi(&self) -> bool {
        self.pirqs.unmask.load(Ordering::Acquire) != 0
    }
}
