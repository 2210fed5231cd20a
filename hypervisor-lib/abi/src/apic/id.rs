//! How a local APIC is addressed.

use core::fmt;

/// The number of a local APIC: 8 bits in xAPIC mode, 32 in x2APIC mode (SDM vol. 3A, 11.12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApicId(pub u32);

/// The destination that reaches every local APIC in xAPIC mode (SDM vol. 3A, 11.6.2.1).
pub const BROADCAST_XAPIC: u32 = 0xff;

/// The destination that reaches every local APIC (SDM vol. 3A, 11.12.9).
pub const BROADCAST_X2APIC: u32 = u32::MAX;

/// The logical ID a local APIC has in x2APIC mode: its cluster in the upper half, its own bit in the lower
/// (SDM vol. 3A, 11.12.10.2).
#[must_use]
pub const fn logical_x2apic_id(id: ApicId) -> u32 {
    (id.0 >> 4) << 16 | 1 << (id.0 & 0xf)
}

impl fmt::Display for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "APIC {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ApicId;
    use super::logical_x2apic_id;

    #[test]
    fn sixteen_apics_share_a_cluster_and_have_a_bit_each() {
        assert_eq!(logical_x2apic_id(ApicId(0)), 0x0000_0001);
        assert_eq!(logical_x2apic_id(ApicId(15)), 0x0000_8000);
        assert_eq!(logical_x2apic_id(ApicId(16)), 0x0001_0001);
        assert_eq!(logical_x2apic_id(ApicId(0x12_3457)), 0x2345_0080);
    }
}
