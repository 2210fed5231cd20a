//! What travels between local APICs, and from devices to them.

use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::ExtendedDestination;
use hypervisor_abi::apic::IcrLevel;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::apic::MsiData;
use hypervisor_abi::apic::TriggerMode;

/// An interrupt message (SDM vol. 3A, 11.6, 11.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Whom it is for.
    pub destination: Destination,
    /// What kind of interrupt it is.
    pub delivery: DeliveryMode,
    /// The vector; whoever receives an illegal one notes it in its error status. For a start-up the number of a page.
    pub vector: u8,
    /// Whether its end is told to the I/O APICs.
    pub trigger: TriggerMode,
}

/// Whom a message is for. How a number is compared depends on the receiver's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The local APIC of this number, or all by a broadcast number.
    Physical(u32),
    /// The local APICs whose logical ID matches.
    Logical(u32),
    /// Every local APIC of the domain.
    All,
    /// Every local APIC of the domain but the sender's.
    Others,
}

/// Why a device's write is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    /// The address is not one of interrupt messages.
    #[error("address {0:#010x} is outside 0xfee00000 to 0xfeefffff")]
    Memory(u32),
    /// The address names an entry of an interrupt-remapping table, which an IOMMU has to look up.
    #[error("address {0:#010x} is in the remappable format, for an IOMMU")]
    Remappable(u32),
    /// The data asks for a kind of interrupt no MSI carries.
    #[error("an MSI does not carry delivery mode {0:?}")]
    Delivery(DeliveryMode),
    /// The data takes a level back, which no local APIC notices.
    #[error("a deasserted level is not delivered")]
    Deasserted,
}

impl Message {
    /// The message a device sends by writing `data` to `address` (SDM vol. 3A, 11.11).
    ///
    /// # Errors
    /// The write is no message, or one that nobody takes.
    pub const fn from_msi(
        address: MsiAddress,
        data: MsiData,
        extended: ExtendedDestination,
    ) -> Result<Self, NoMessage> {
        if address.window() != MsiAddress::WINDOW {
            return Err(NoMessage::Memory(address.into_bits()));
        }
        if address.remappable() {
            return Err(NoMessage::Remappable(address.into_bits()));
        }
        if matches!(data.delivery(), DeliveryMode::Reserved | DeliveryMode::StartUp) {
            return Err(NoMessage::Delivery(data.delivery()));
        }
        if matches!((data.trigger(), data.level()), (TriggerMode::Level, IcrLevel::Deassert)) {
            return Err(NoMessage::Deasserted);
        }
        let number = address.full_destination(extended);
        let destination = match address.destination_mode() {
            DestinationMode::Physical => Destination::Physical(number),
            DestinationMode::Logical => Destination::Logical(number),
        };
        // The hint lets the platform choose among logical destinations, as lowest priority does.
        let delivery = match (data.delivery(), address.redirection_hint(), address.destination_mode()) {
            (DeliveryMode::Fixed, true, DestinationMode::Logical) => DeliveryMode::LowestPriority,
            (delivery, _, _) => delivery,
        };
        Ok(Self { destination, delivery, vector: data.vector(), trigger: data.trigger() })
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::DeliveryMode;
    use hypervisor_abi::apic::ExtendedDestination;
    use hypervisor_abi::apic::TriggerMode;

    use super::Destination;
    use super::Message;
    use super::NoMessage;

    fn msi(address: u32, data: u32) -> Result<Message, NoMessage> {
        Message::from_msi(address.into(), data.into(), ExtendedDestination::Absent)
    }

    #[test]
    fn an_msi_to_one_apic_is_fixed_and_edge_triggered() {
        let message = Message {
            destination: Destination::Physical(3),
            delivery: DeliveryMode::Fixed,
            vector: 0x41,
            trigger: TriggerMode::Edge,
        };
        assert_eq!(msi(0xfee0_3000, 0x41), Ok(message));
        // With a physical destination there is nothing to choose.
        assert_eq!(msi(0xfee0_3008, 0x41), Ok(message));
    }

    #[test]
    fn the_redirection_hint_makes_a_logical_destination_lowest_priority() {
        assert_eq!(msi(0xfee0_300c, 0x41).map(|message| message.delivery), Ok(DeliveryMode::LowestPriority));
        assert_eq!(msi(0xfee0_3004, 0x41).map(|message| message.delivery), Ok(DeliveryMode::Fixed));
        assert_eq!(msi(0xfee0_300c, 0x400).map(|message| message.delivery), Ok(DeliveryMode::Nmi));
    }

    #[test]
    fn destinations_above_255_need_the_extended_format() {
        let address = 0xfee0_1020.into();
        let destination = |extended| Message::from_msi(address, 0x41.into(), extended).unwrap().destination;
        assert_eq!(destination(ExtendedDestination::Absent), Destination::Physical(1));
        assert_eq!(destination(ExtendedDestination::Present), Destination::Physical(0x101));
    }

    #[test]
    fn r33_an_msi_of_delivery_mode_7_is_an_external_interrupt() {
        assert_eq!(msi(0xfee0_0000, 0x4700).map(|message| message.delivery), Ok(DeliveryMode::ExtInt));
    }

    #[test]
    fn what_is_no_message_says_why() {
        assert_eq!(msi(0xfed0_0000, 0x41), Err(NoMessage::Memory(0xfed0_0000)));
        assert_eq!(msi(0xfee0_0010, 0x41), Err(NoMessage::Remappable(0xfee0_0010)));
        assert_eq!(msi(0xfee0_0000, 0x341), Err(NoMessage::Delivery(DeliveryMode::Reserved)));
        assert_eq!(msi(0xfee0_0000, 0x641), Err(NoMessage::Delivery(DeliveryMode::StartUp)));
        assert_eq!(msi(0xfee0_0000, 0x8041), Err(NoMessage::Deasserted));
        assert_eq!(msi(0xfee0_0000, 0xc041).map(|message| message.trigger), Ok(TriggerMode::Level));
    }
}
