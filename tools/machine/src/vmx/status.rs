//! The guest interrupt status and the EOI-exit bitmap (SDM vol. 3C, 25.4.2 and 25.6.8).

use core::fmt;

use bitfield_struct::bitfield;

/// What RVI, SVI and the bits of VIRR and VISR name. Other than [`vector_allocator::Vector`] it may be below 16: software
/// can put such a number there, and it is only never delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualVector(pub u8);

impl VirtualVector {
    /// Bits 7:4, which are what priorities compare.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.0 >> 4
    }

    const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn into_bits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for VirtualVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}", self.0)
    }
}

/// The guest interrupt status, VMCS field 0x0810.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct GuestInterruptStatus {
    /// RVI: the highest vector that waits, as software and processor keep it; 0 for none.
    #[bits(8)]
    pub rvi: VirtualVector,
    /// SVI: the highest vector in service; 0 for none.
    #[bits(8)]
    pub svi: VirtualVector,
}

/// The EOI-exit bitmap, VMCS fields 0x201c to 0x2022: the vectors whose EOI the hypervisor hears of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EoiExitBitmap(pub [u64; 4]);

impl EoiExitBitmap {
    /// Whether the EOI of `vector` exits.
    #[must_use]
    pub const fn contains(&self, vector: VirtualVector) -> bool {
        self.0[(vector.0 >> 6) as usize] >> (vector.0 & 63) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::EoiExitBitmap;
    use super::GuestInterruptStatus;
    use super::VirtualVector;

    #[test]
    fn rvi_is_the_low_byte_and_svi_the_high_byte() {
        let status = GuestInterruptStatus::from(0x7361);
        assert_eq!(status.rvi(), VirtualVector(0x61));
        assert_eq!(status.svi(), VirtualVector(0x73));
    }

    #[test]
    fn every_vector_has_its_own_bit_of_the_eoi_exit_bitmap() {
        for number in 0..=255_u8 {
            let mut fields = [0; 4];
            fields[usize::from(number) / 64] = 1 << (number % 64);
            let bitmap = EoiExitBitmap(fields);
            for other in 0..=255 {
                assert_eq!(bitmap.contains(VirtualVector(other)), other == number);
            }
        }
    }
}
