//! Message-signalled interrupts: a write to an address that names the destination (SDM vol. 3A, 11.11).

use bitfield_struct::bitfield;

use super::DeliveryMode;
use super::DestinationMode;
use super::IcrLevel;
use super::TriggerMode;

/// The lower half of an MSI's address.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiAddress {
    #[bits(2)]
    __: u8,
    /// How the destination is meant.
    #[bits(1)]
    pub destination_mode: DestinationMode,
    /// The message may be redirected to the logical destination of lowest priority.
    pub redirection_hint: bool,
    /// Set in the remappable format of an IOMMU, which names a table entry instead of a destination.
    pub remappable: bool,
    /// Bits 14:8 of the destination, where the platform says that they count.
    #[bits(7)]
    pub extended_destination: u8,
    /// Bits 7:0 of the destination.
    pub destination: u8,
    /// 0xfee.
    #[bits(12)]
    pub window: u16,
}

/// Whether bits 11:5 of an MSI's address are part of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtendedDestination {
    /// They are reserved: destinations have 8 bits.
    Absent,
    /// They are bits 14:8 of it: destinations have 15 bits (Xen's `XEN_HVM_CPUID_EXT_DEST_ID`, KVM's
    /// `KVM_FEATURE_MSI_EXT_DEST_ID`).
    Present,
}

impl MsiAddress {
    /// The value of `window` that makes a write a message.
    pub const WINDOW: u16 = 0xfee;

    /// The address in remappable format that names an entry of an IOMMU's table, without a subhandle: the index takes the
    /// places of the destination, its highest bit that of the destination's mode (VT-d, 5.1.2.2).
    #[must_use]
    pub const fn of_entry(index: u16) -> Self {
        let (low, high) = ((index & 0x7fff) as u32, (index >> 15) as u32);
        Self::from_bits((Self::WINDOW as u32) << 20 | low << 5 | 1 << 4 | high << 2)
    }

    /// Whom the message is for.
    #[must_use]
    pub const fn full_destination(self, extended: ExtendedDestination) -> u32 {
        match extended {
            ExtendedDestination::Absent => self.destination() as u32,
            ExtendedDestination::Present => (self.extended_destination() as u32) << 8 | self.destination() as u32,
        }
    }
}

/// An MSI's data.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MsiData {
    /// The vector.
    pub vector: u8,
    /// What kind of interrupt.
    #[bits(3)]
    pub delivery: DeliveryMode,
    #[bits(3)]
    __: u8,
    /// Whether a level is asserted; counts for level-triggered messages.
    #[bits(1)]
    pub level: IcrLevel,
    /// How the interrupt signals.
    #[bits(1)]
    pub trigger: TriggerMode,
    __: u16,
}

#[cfg(test)]
mod tests {
    use super::ExtendedDestination;
    use super::MsiAddress;
    use super::MsiData;
    use crate::apic::DeliveryMode;
    use crate::apic::DestinationMode;
    use crate::apic::IcrLevel;
    use crate::apic::TriggerMode;

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        let address = MsiAddress::from(0xfee0_500c);
        assert_eq!((address.window(), address.destination()), (MsiAddress::WINDOW, 5));
        assert_eq!(address.destination_mode(), DestinationMode::Logical);
        assert!(address.redirection_hint() && !address.remappable());
        let data = MsiData::from(0xc531);
        assert_eq!((data.vector(), data.delivery()), (0x31, DeliveryMode::Init));
        assert_eq!((data.level(), data.trigger()), (IcrLevel::Assert, TriggerMode::Level));
    }

    #[test]
    fn an_extended_destination_has_fifteen_bits() {
        let address = MsiAddress::from(0xfee3_4fe0);
        assert_eq!(address.full_destination(ExtendedDestination::Present), 0x7f34);
        assert_eq!(address.full_destination(ExtendedDestination::Absent), 0x34);
        assert!(!address.remappable());
    }

    #[test]
    fn the_address_of_an_entry_holds_its_index_in_two_places() {
        for (index, bits) in [(0, 0xfee0_0010), (3, 0xfee0_0070), (0x7fff, 0xfeef_fff0), (0x8001, 0xfee0_0034)] {
            let address = MsiAddress::of_entry(index);
            assert_eq!(u32::from(address), bits);
            assert!(address.remappable() && !address.redirection_hint());
        }
    }
}
