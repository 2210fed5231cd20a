//! Commands: what a write of the interrupt command register sends (SDM vol. 3A, 11.6.1, 11.12.9).

use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::IcrLevel;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;
use vector_allocator::Vector;

use super::error::SEND_ILLEGAL_VECTOR;
use super::local_apic::LocalApic;
use crate::delivery::host::Host;
use crate::delivery::message::Destination;
use crate::delivery::message::Message;

impl LocalApic {
    /// Sends what `icr` says. Combinations that the manual calls invalid send nothing: a shorthand that includes the sender
    /// with anything but a fixed vector, and delivery modes a command does not have.
    #[inline]
    pub(super) fn send<H: Host>(&mut self, icr: Icr, host: &H) {
        let delivery = icr.delivery();
        let takes_back_init =
            delivery == DeliveryMode::Init && icr.level() == IcrLevel::Deassert && icr.trigger() == TriggerMode::Level;
        let includes_sender = matches!(icr.shorthand(), Shorthand::Myself | Shorthand::All);
        if matches!(delivery, DeliveryMode::Reserved | DeliveryMode::ExtInt)
            || takes_back_init
            || includes_sender && delivery != DeliveryMode::Fixed
        {
            return;
        }
        let has_vector = matches!(delivery, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        if has_vector && Vector::new(icr.vector()).is_err() {
            self.note_error(SEND_ILLEGAL_VECTOR);
        }
        let destination = match (icr.shorthand(), icr.destination_mode()) {
            (Shorthand::Myself, _) => return self.receive(&message(icr, Destination::All), host),
            (Shorthand::All, _) => Destination::All,
            (Shorthand::Others, _) => Destination::Others,
            (Shorthand::None, DestinationMode::Physical) => Destination::Physical(icr.destination()),
            (Shorthand::None, DestinationMode::Logical) => Destination::Logical(icr.destination()),
        };
        let message = message(icr, destination);
        let bus = host.bus();
        bus.resolve(&message, Some(self.config.vcpu), |vcpu| {
            if vcpu == self.config.vcpu {
                self.receive(&message, host);
            } else {
                bus.deliver(vcpu, &message, host);
            }
        });
    }

    /// A write of SELF IPI (SDM vol. 3A, 11.12.11).
    pub(super) fn send_to_itself<H: Host>(&mut self, vector: u8, host: &H) {
        self.send(Icr::new().with_vector(vector).with_shorthand(Shorthand::Myself), host);
    }
}

/// Commands are edge-triggered whatever their trigger bit says (SDM vol. 3A, table 11-3).
#[inline]
fn message(icr: Icr, destination: Destination) -> Message {
    Message { destination, delivery: icr.delivery(), vector: icr.vector(), trigger: TriggerMode::Edge }
}
