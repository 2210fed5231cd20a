//! The tables by which the processor finds the target of an inter-processor interrupt (APM vol. 2, 15.29.4).

use bitfield_struct::bitfield;

use crate::sync::AtomicU32;
use crate::sync::AtomicU64;

/// How many entries the logical APIC-ID table has: 15 clusters of four, or eight flat ones, in one page.
pub const LOGICAL_TABLE_ENTRIES: usize = 64;

/// The number of a processor's own local APIC, 12 bits wide where AVIC names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostApicId(u16);

/// A number that no table entry has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("host APIC {0} does not fit into the 12 bits of a physical APIC-ID table entry")]
pub struct NoHostApicId(pub u32);

impl HostApicId {
    /// The greatest there is.
    pub const MAX: Self = Self(0xfff);

    /// The processor of this number.
    ///
    /// # Errors
    /// The number is above 4095.
    pub const fn new(number: u32) -> Result<Self, NoHostApicId> {
        if number > Self::MAX.number() {
            return Err(NoHostApicId(number));
        }
        let [low, high, ..] = number.to_le_bytes();
        Ok(Self(u16::from_le_bytes([low, high])))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    const fn into_bits(self) -> u16 {
        self.0
    }
}

/// The value of an entry of the physical APIC-ID table, whose index is the guest's APIC ID.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct PhysicalEntry {
    /// The processor the vCPU is assigned to; counts while `is_running`.
    #[bits(12, default = HostApicId(0))]
    pub host: HostApicId,
    /// The frame of the vCPU's backing page.
    #[bits(40)]
    pub backing_frame: u64,
    /// To be written as zero.
    #[bits(10)]
    __: u16,
    /// The vCPU is assigned to a processor, in guest mode or not. Senders ring that processor's doorbell instead of exiting.
    pub is_running: bool,
    /// There is such a vCPU.
    pub is_valid: bool,
}

/// The cell an entry of the physical APIC-ID table is in. Processors read it at any moment; the hypervisor writes it whole.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct PhysicalCell(pub AtomicU64);

/// The value of an entry of the logical APIC-ID table, which only xAPIC mode has.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct LogicalEntry {
    /// The index of the vCPU in the physical table.
    pub guest: u8,
    #[bits(23)]
    __: u32,
    /// There is a vCPU of that logical ID.
    pub is_valid: bool,
}

/// The cell an entry of the logical APIC-ID table is in.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct LogicalCell(pub AtomicU32);

#[cfg(test)]
mod tests {
    use super::HostApicId;
    use super::LogicalCell;
    use super::LogicalEntry;
    use super::NoHostApicId;
    use super::PhysicalCell;
    use super::PhysicalEntry;

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        let entry = PhysicalEntry::from(0xc00f_edcb_a987_6123);
        assert!(entry.is_valid() && entry.is_running());
        assert_eq!((entry.host().number(), entry.backing_frame()), (0x123, 0xfe_dcba_9876));
        assert_eq!(u64::from(PhysicalEntry::new().with_is_running(true)), 1 << 62);
        let entry = LogicalEntry::from(0x8000_00a5);
        assert!(entry.is_valid());
        assert_eq!(entry.guest(), 0xa5);
        assert_eq!((size_of::<PhysicalCell>(), size_of::<LogicalCell>()), (8, 4));
    }

    #[test]
    fn a_host_apic_beyond_twelve_bits_is_refused() {
        assert_eq!(HostApicId::new(0xfff).map(HostApicId::number), Ok(0xfff));
        assert_eq!(HostApicId::new(0x1000), Err(NoHostApicId(0x1000)));
    }
}
