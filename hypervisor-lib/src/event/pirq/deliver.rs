//! What becomes of a passed-through interrupt that happens, and of its end (`hvm_dirq_assist`, `hvm_dpci_eoi`,
//! `hvm_dpci_msi_eoi`; `xen/drivers/passthrough/x86/hvm.c`).

use lock_api::RawMutex;

use super::GuestMessage;
use super::GuestPin;
use super::Use;
use super::assign::Assigned;
use super::assign::ByMessage;
use crate::event::domain::Domain;
use crate::event::domain::Structure;
use crate::event::host::Action;
use crate::event::host::CallbackLine;
use crate::event::host::Host;
use crate::event::host::Level;

/// How a passed-through interrupt was carried to its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carried {
    /// It was not: it is not passed through.
    Nowhere,
    /// As an event.
    Event,
    /// As a message of the guest's.
    Message,
    /// As lines of the guest's.
    Lines,
    /// As an event, and as lines, which the guest has masked if it means the event.
    EventAndLines,
}

impl<L: RawMutex> Domain<L> {
    /// A passed-through interrupt has happened. The hypervisor calls this where it may take locks: after the interrupt
    /// itself, on whichever CPU.
    pub fn carry_pirq<H: Host<Lock = L>>(&self, host: &H, pirq: u32) -> Carried {
        let mut structure = self.lock();
        let Some(assigned) = structure.pirqs.assigned.get_mut(&pirq) else { return Carried::Nowhere };
        let is_event = self.pirqs.usage(pirq) != Use::None;
        if is_event {
            self.send_pirq(host, pirq);
        }
        let domain = self.id;
        match assigned {
            Assigned::Message(_) if is_event => Carried::Event,
            Assigned::Message(message) => {
                host.act(Action::InjectMessage { domain, message: *message });
                Carried::Message
            }
            Assigned::Pins { by_message, pins, unended } => {
                for pin in pins {
                    host.act(Action::SetLine { domain, line: line_of(*pin), level: Level::High });
                    *unended = unended.saturating_add(1);
                }
                if *by_message == ByMessage::Yes {
                    host.act(Action::AcknowledgePirq { domain, pirq });
                }
                if is_event { Carried::EventAndLines } else { Carried::Lines }
            }
        }
    }

    /// The guest ends the interrupt of a line of its IO-APIC. The physical line behind it is acknowledged once all its pins
    /// are ended, masked in the guest's IO-APIC or not: nobody else would do it before the time-out.
    pub fn line_ended<H: Host<Lock = L>>(&self, host: &H, line: u8) {
        self.pins_ended(host, |pin| pin.line() == line);
    }

    /// The guest ends an interrupt of its PICs, to which the four links of its PCI-to-ISA bridge are `routed`
    /// (`hvm_dpci_isairq_eoi`); 0 for not at all.
    pub fn isa_ended<H: Host<Lock = L>>(&self, host: &H, isa_irq: u8, routed: [u8; 4]) {
        if isa_irq != 0 {
            self.pins_ended(host, |pin| routed[usize::from(pin.link())] == isa_irq);
        }
    }

    fn pins_ended<H: Host<Lock = L>>(&self, host: &H, is_ended: impl Fn(GuestPin) -> bool) {
        let mut structure = self.lock();
        let Structure { pirqs: records, .. } = &mut *structure;
        let domain = self.id;
        for (pirq, assigned) in &mut records.assigned {
            let Assigned::Pins { by_message, pins, unended } = assigned else { continue };
            for pin in pins.iter().filter(|pin| is_ended(**pin)) {
                if self.pirqs.usage(*pirq) == Use::None {
                    host.act(Action::SetLine { domain, line: line_of(*pin), level: Level::Low });
                }
                // What was not asserted has no end.
                let Some(left) = unended.checked_sub(1) else { continue };
                *unended = left;
                if left == 0 && *by_message == ByMessage::No {
                    host.act(Action::AcknowledgePirq { domain, pirq: *pirq });
                }
            }
        }
    }

    /// The guest ends an interrupt of a local APIC; `is_mine` says whether that APIC is among a message's destinations. The
    /// first message that fits is acknowledged.
    pub fn message_ended<H: Host<Lock = L>>(&self, host: &H, vector: u8, is_mine: impl Fn(&GuestMessage) -> bool) {
        let structure = self.lock();
        let mut assigned = structure.pirqs.assigned.iter();
        let ended = assigned.find(|(_, assigned)| match assigned {
            Assigned::Message(message) => message.vector == vector && is_mine(message),
            Assigned::Pins { .. } => false,
        });
        if let Some((pirq, _)) = ended {
            host.act(Action::AcknowledgePirq { domain: self.id, pirq: *pirq });
        }
    }
}

const fn line_of(pin: GuestPin) -> CallbackLine {
    CallbackLine::PciIntx { device: pin.device, pin: pin.intx }
}
