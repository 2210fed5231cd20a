//! Whom a destination means: what a local APIC tells the others about itself, and the comparison (SDM vol. 3A, 11.6.2,
//! 11.12.9, 11.12.10).

use bitfield_struct::bitfield;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::BROADCAST_X2APIC;
use hypervisor_abi::apic::BROADCAST_XAPIC;
use hypervisor_abi::apic::logical_x2apic_id;

use super::message::Destination;
use super::port::Port;

/// What others have to know of a local APIC, as one word, so that it is never seen half changed.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Address {
    /// Its logical ID: 8 bits in xAPIC mode.
    pub logical: u32,
    /// How destinations are compared with it.
    #[bits(3)]
    pub mode: AddressMode,
    /// It is software-enabled: it takes vectors.
    pub takes_vectors: bool,
    /// Where vectors for it are left.
    #[bits(2)]
    pub port: Port,
    #[bits(26)]
    __: u32,
}

/// How destinations are compared with a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressMode {
    /// Not at all: it is disabled, or not there yet.
    Disabled,
    /// xAPIC, flat model: a bit each.
    Flat,
    /// xAPIC, cluster model: four bits of cluster, a bit each within it.
    Cluster,
    /// xAPIC with a model that does not exist: by number alone.
    Unmodelled,
    /// x2APIC: 16 bits of cluster, a bit each within it.
    X2Apic,
}

impl AddressMode {
    const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            1 => Self::Flat,
            2 => Self::Cluster,
            3 => Self::Unmodelled,
            4 => Self::X2Apic,
            _ => Self::Disabled,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

impl Address {
    /// Whether `destination` means the local APIC `id` at this address. [`Destination::Others`] means all here: who the
    /// sender is, the bus knows.
    #[must_use]
    pub fn matches(self, id: ApicId, destination: Destination) -> bool {
        match (self.mode(), destination) {
            (AddressMode::Disabled, _) => false,
            (_, Destination::All | Destination::Others) => true,
            (_, Destination::Physical(BROADCAST_X2APIC) | Destination::Logical(BROADCAST_X2APIC)) => true,
            (AddressMode::X2Apic, Destination::Physical(number)) => number == id.0,
            (_, Destination::Physical(number)) => number == id.0 || number == BROADCAST_XAPIC,
            (AddressMode::X2Apic, Destination::Logical(number)) => {
                number >> 16 == self.logical() >> 16 && number & self.logical() & 0xffff != 0
            }
            (_, Destination::Logical(BROADCAST_XAPIC)) => true,
            (_, Destination::Logical(number)) if number > 0xff => false,
            (AddressMode::Flat, Destination::Logical(number)) => number & self.logical() != 0,
            (AddressMode::Cluster, Destination::Logical(number)) => {
                number >> 4 == self.logical() >> 4 && number & self.logical() & 0xf != 0
            }
            (AddressMode::Unmodelled, Destination::Logical(_)) => false,
        }
    }

    /// Whether there is a local APIC to be addressed.
    #[inline]
    pub(super) fn is_there(self) -> bool {
        self.mode() != AddressMode::Disabled
    }

    /// Whether the numbers of a cluster's members cannot be worked out from a logical destination: the local APIC is in
    /// xAPIC mode, or has a logical ID of its own making.
    pub(super) fn is_irregular(self, id: ApicId) -> bool {
        match self.mode() {
            AddressMode::Disabled => false,
            AddressMode::X2Apic => self.logical() != logical_x2apic_id(id),
            AddressMode::Flat | AddressMode::Cluster | AddressMode::Unmodelled => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::apic::logical_x2apic_id;

    use super::Address;
    use super::AddressMode;
    use crate::delivery::Destination::All;
    use crate::delivery::Destination::Logical;
    use crate::delivery::Destination::Physical;

    const MODES: [AddressMode; 5] =
        [AddressMode::Disabled, AddressMode::Flat, AddressMode::Cluster, AddressMode::Unmodelled, AddressMode::X2Apic];

    fn address(mode: AddressMode, logical: u32) -> Address {
        Address::new().with_mode(mode).with_logical(logical)
    }

    #[test]
    fn every_flat_logical_destination_agrees_with_the_common_bits() {
        for logical in 0..=0xff {
            for number in 0..=0xff {
                let expected = number == 0xff || number & logical != 0;
                assert_eq!(address(AddressMode::Flat, logical).matches(ApicId(0), Logical(number)), expected);
            }
        }
    }

    #[test]
    fn every_cluster_logical_destination_agrees_with_cluster_and_bits() {
        for logical in 0..=0xff {
            for number in 0..=0xff {
                let same = number & 0xf0 == logical & 0xf0;
                let expected = number == 0xff || same && number & logical & 0xf != 0;
                assert_eq!(address(AddressMode::Cluster, logical).matches(ApicId(0), Logical(number)), expected);
            }
        }
    }

    #[test]
    fn an_x2apic_answers_to_its_own_number_cluster_bit_and_the_broadcast() {
        for id in [0, 1, 15, 16, 0xff, 0x100, 0x1234] {
            let own = address(AddressMode::X2Apic, logical_x2apic_id(ApicId(id)));
            for other in [0, 1, 15, 16, 0xff, 0x100, 0x1234] {
                assert_eq!(own.matches(ApicId(id), Physical(other)), id == other);
                assert_eq!(own.matches(ApicId(id), Logical(logical_x2apic_id(ApicId(other)))), id == other);
            }
            assert!(own.matches(ApicId(id), Logical(id >> 4 << 16 | 0xffff)));
            assert!(!own.matches(ApicId(id), Logical((id >> 4 ^ 1) << 16 | 0xffff)));
            assert!(own.matches(ApicId(id), Physical(u32::MAX)) && own.matches(ApicId(id), Logical(u32::MAX)));
        }
    }

    #[test]
    fn ff_is_a_broadcast_in_xapic_mode_and_a_number_in_x2apic_mode() {
        for mode in [AddressMode::Flat, AddressMode::Cluster, AddressMode::Unmodelled] {
            assert!(
                address(mode, 0).matches(ApicId(3), Physical(0xff))
                    && address(mode, 0).matches(ApicId(3), Logical(0xff))
            );
        }
        assert!(!address(AddressMode::X2Apic, 8).matches(ApicId(3), Physical(0xff)));
        assert!(address(AddressMode::X2Apic, 0xf_8000).matches(ApicId(0xff), Physical(0xff)));
    }

    #[test]
    fn a_disabled_apic_is_addressed_by_nothing() {
        for destination in [Physical(0), Physical(0xff), Physical(u32::MAX), Logical(u32::MAX), All] {
            assert!(!address(AddressMode::Disabled, u32::MAX).matches(ApicId(0), destination));
        }
    }

    #[test]
    fn a_destination_of_more_than_8_bits_matches_no_xapic_logical_id() {
        for mode in [AddressMode::Flat, AddressMode::Cluster, AddressMode::Unmodelled] {
            assert!(!address(mode, 0xff).matches(ApicId(0), Logical(0x1ff)));
        }
    }

    #[test]
    fn every_mode_survives_its_encoding() {
        for mode in MODES {
            assert_eq!(Address::from(u64::from(address(mode, 7))).mode(), mode);
        }
    }
}
