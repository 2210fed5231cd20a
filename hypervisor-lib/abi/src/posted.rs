//! The posted-interrupt descriptor: what processors, IOMMUs and the hypervisor share about a vCPU's posted interrupts
//! (SDM vol. 3C, 30.6).

use bitfield_struct::bitfield;

use crate::apic::ApicId;
use crate::apic::ApicMode;
use crate::sync::AtomicU64;

/// The descriptor: 64 bytes, aligned to 64. Everything in it changes by atomic read-modify-write only, since a posting
/// agent may be at it at any moment.
#[derive(Debug, Default)]
#[repr(C, align(64))]
#[cfg_attr(not(any(loom, shuttle)), derive(zerocopy::FromBytes, zerocopy::KnownLayout))]
pub struct PostedDescriptor {
    /// PIR: a bit a vector. Agents set, the owner takes.
    pub pir: [AtomicU64; 4],
    /// ON, SN, NV and NDST, as one word: see [`PostedControl`].
    pub control: AtomicU64,
    /// Software's own.
    pub available: [AtomicU64; 3],
}

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<PostedDescriptor>() == 64 && align_of::<PostedDescriptor>() == 64);
    assert!(offset_of!(PostedDescriptor, control) == 32);
};

/// The value of the control word.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct PostedControl {
    /// ON: a notification is outstanding. Agents set it, whoever takes PIR clears it.
    pub outstanding: bool,
    /// SN: agents do not notify, unless the interrupt is urgent; nor do they set ON.
    pub suppressed: bool,
    #[bits(14)]
    __: u16,
    /// NV: the host vector of notifications.
    pub vector: u8,
    #[bits(8)]
    __: u8,
    /// NDST: where notifications go.
    #[bits(32)]
    pub destination: PostedDestination,
}

impl PostedControl {
    /// ON, as a mask.
    pub const OUTSTANDING: u64 = 1;
    /// SN, as a mask.
    pub const SUPPRESSED: u64 = 2;
}

/// A physical CPU as notifications name it. It depends on the mode the host's local APICs are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PostedDestination(u32);

impl PostedDestination {
    /// The CPU whose local APIC has this number: all 32 bits in x2APIC mode, else 8 bits from bit 8 on.
    #[must_use]
    pub const fn new(id: ApicId, host_mode: ApicMode) -> Self {
        match host_mode {
            ApicMode::X2Apic => Self(id.0),
            ApicMode::XApic | ApicMode::Disabled => Self((id.0 & 0xff) << 8),
        }
    }

    /// The field's value.
    #[must_use]
    pub const fn into_bits(self) -> u32 {
        self.0
    }

    /// The destination with this value of the field.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::PostedControl;
    use super::PostedDestination;
    use crate::apic::ApicId;
    use crate::apic::ApicMode;

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        // Bit 256 of the descriptor is bit 0 of the word; NV is 279:272, NDST 319:288.
        let value = PostedControl::from(0x0000_1234_00f2_0003);
        assert!(value.outstanding() && value.suppressed());
        assert_eq!(value.vector(), 0xf2);
        assert_eq!(value.destination().into_bits(), 0x1234);
        assert_eq!(u64::from(PostedControl::new().with_outstanding(true)), PostedControl::OUTSTANDING);
        assert_eq!(u64::from(PostedControl::new().with_suppressed(true)), PostedControl::SUPPRESSED);
    }

    #[test]
    fn a_destination_has_32_bits_in_x2apic_mode_and_8_otherwise() {
        assert_eq!(PostedDestination::new(ApicId(0x1_0203), ApicMode::X2Apic).into_bits(), 0x1_0203);
        assert_eq!(PostedDestination::new(ApicId(0x1_0203), ApicMode::XApic).into_bits(), 0x300);
    }
}
