//! An entry of the interrupt-remapping table, 128 bits, in its two forms.

use core::fmt;

use bitfield_struct::bitfield;

use crate::posted::PostedDestination;

/// The bits of a remapped entry's lower half that have a meaning.
pub const REMAPPED_LOW_DEFINED: u64 = 0xffff_ffff_00ff_8fff;
/// The bits of a remapped entry's upper half that have a meaning.
pub const REMAPPED_HIGH_DEFINED: u64 = 0x000f_ffff;
/// The bits of a posted entry's lower half that have a meaning.
pub const POSTED_LOW_DEFINED: u64 = 0xffff_ffc0_00ff_cf03;
/// The bits of a posted entry's upper half that have a meaning.
pub const IRTE_HIGH_DEFINED: u64 = 0xffff_ffff_000f_ffff;

/// The lower half of an entry in remapped form: the host takes the interrupt.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RemappedIrteLow {
    /// P.
    pub is_present: bool,
    /// FPD: requests that this entry blocks are not reported.
    pub faults_disabled: bool,
    /// DM: the destination is a logical one.
    pub is_logical: bool,
    /// RH: any one of several destinations.
    pub is_redirectable: bool,
    /// TM: level-triggered.
    pub is_level: bool,
    /// DLM: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 `ExtINT`.
    #[bits(3)]
    pub delivery: u8,
    /// Software's own.
    #[bits(4)]
    pub available: u8,
    #[bits(3)]
    __: u8,
    /// IM; clear in this form.
    pub is_posted: bool,
    /// V: the host's vector.
    pub vector: u8,
    #[bits(8)]
    __: u8,
    /// DST: the host's CPU, named as in a posted-interrupt descriptor.
    #[bits(32)]
    pub destination: PostedDestination,
}

/// The lower half of an entry in posted form: the IOMMU sets a bit in a vCPU's descriptor.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct PostedIrteLow {
    /// P.
    pub is_present: bool,
    /// FPD: requests that this entry blocks are not reported.
    pub faults_disabled: bool,
    #[bits(6)]
    __: u8,
    /// Software's own.
    #[bits(4)]
    pub available: u8,
    #[bits(2)]
    __: u8,
    /// URG: the vCPU is notified even if its descriptor suppresses that.
    pub is_urgent: bool,
    /// IM; set in this form.
    pub is_posted: bool,
    /// VV: the guest's vector.
    pub vector: u8,
    #[bits(14)]
    __: u16,
    /// PDAL: bits 31:6 of the descriptor's address.
    #[bits(26)]
    pub descriptor_low: u32,
}

/// The upper half of an entry. In remapped form its upper 32 bits are to be zero.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct IrteHigh {
    /// SID, SQ and SVT in one: which requests the entry answers.
    #[bits(20)]
    pub source: u32,
    #[bits(12)]
    __: u16,
    /// PDAH: bits 63:32 of the descriptor's address.
    #[bits(32)]
    pub descriptor_high: u32,
}

/// A whole entry. The IOMMU may read it at any moment, all 128 bits at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Irte {
    /// Bits 63 to 0.
    pub low: u64,
    /// Bits 127 to 64.
    pub high: u64,
}

impl Irte {
    /// No entry: requests are blocked.
    pub const ABSENT: Self = Self { low: 0, high: 0 };

    /// P, which lies at the same place in both forms.
    #[must_use]
    pub const fn is_present(self) -> bool {
        RemappedIrteLow::from_bits(self.low).is_present()
    }

    /// IM: whether it is in posted form.
    #[must_use]
    pub const fn is_posted(self) -> bool {
        RemappedIrteLow::from_bits(self.low).is_posted()
    }

    /// The address a posted entry names.
    #[must_use]
    pub const fn descriptor(self) -> DescriptorAddress {
        let low = PostedIrteLow::from_bits(self.low).descriptor_low() as u64;
        let high = IrteHigh::from_bits(self.high).descriptor_high() as u64;
        DescriptorAddress(high << 32 | low << 6)
    }

    /// The 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }
}

/// Where a posted-interrupt descriptor lies in the host's memory: a multiple of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DescriptorAddress(u64);

/// An address no descriptor can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a posted-interrupt descriptor cannot lie at {0:#x}: that is no multiple of 64")]
pub struct NoDescriptorAddress(pub u64);

impl DescriptorAddress {
    /// A physical address of the host.
    ///
    /// # Errors
    /// It is no multiple of 64.
    pub const fn new(address: u64) -> Result<Self, NoDescriptorAddress> {
        if address.is_multiple_of(64) { Ok(Self(address)) } else { Err(NoDescriptorAddress(address)) }
    }

    /// The address.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0
    }

    /// Bits 31:6, PDAL.
    #[must_use]
    pub const fn low(self) -> u32 {
        ((self.0 & 0xffff_ffff) >> 6) as u32
    }

    /// Bits 63:32, PDAH.
    #[must_use]
    pub const fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for DescriptorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::DescriptorAddress;
    use super::IRTE_HIGH_DEFINED;
    use super::Irte;
    use super::IrteHigh;
    use super::NoDescriptorAddress;
    use super::POSTED_LOW_DEFINED;
    use super::PostedIrteLow;
    use super::REMAPPED_HIGH_DEFINED;
    use super::REMAPPED_LOW_DEFINED;
    use super::RemappedIrteLow;
    use crate::posted::PostedDestination;

    /// Where the specification draws the fields: lowest bit, width, and what the field is read as from a half.
    type Field = (u32, u32, fn(u64) -> u64);

    const REMAPPED: [Field; 10] = [
        (0, 1, |half| RemappedIrteLow::from(half).is_present().into()),
        (1, 1, |half| RemappedIrteLow::from(half).faults_disabled().into()),
        (2, 1, |half| RemappedIrteLow::from(half).is_logical().into()),
        (3, 1, |half| RemappedIrteLow::from(half).is_redirectable().into()),
        (4, 1, |half| RemappedIrteLow::from(half).is_level().into()),
        (5, 3, |half| RemappedIrteLow::from(half).delivery().into()),
        (8, 4, |half| RemappedIrteLow::from(half).available().into()),
        (15, 1, |half| RemappedIrteLow::from(half).is_posted().into()),
        (16, 8, |half| RemappedIrteLow::from(half).vector().into()),
        (32, 32, |half| RemappedIrteLow::from(half).destination().into_bits().into()),
    ];
    const POSTED: [Field; 7] = [
        (0, 1, |half| PostedIrteLow::from(half).is_present().into()),
        (1, 1, |half| PostedIrteLow::from(half).faults_disabled().into()),
        (8, 4, |half| PostedIrteLow::from(half).available().into()),
        (14, 1, |half| PostedIrteLow::from(half).is_urgent().into()),
        (15, 1, |half| PostedIrteLow::from(half).is_posted().into()),
        (16, 8, |half| PostedIrteLow::from(half).vector().into()),
        (38, 26, |half| PostedIrteLow::from(half).descriptor_low().into()),
    ];
    const HIGH: [Field; 2] = [
        (0, 20, |half| IrteHigh::from(half).source().into()),
        (32, 32, |half| IrteHigh::from(half).descriptor_high().into()),
    ];

    /// Every bit of a half belongs to the field the specification draws it in, and to no other.
    fn every_bit_is_in_its_field(fields: &[Field], defined: u64) {
        for bit in 0..u64::BITS {
            let mut owners = 0;
            for (lowest, width, read) in fields {
                let is_inside = (*lowest..lowest + width).contains(&bit);
                let expected = if is_inside { 1 << (bit - lowest) } else { 0 };
                assert_eq!(read(1 << bit), expected, "bit {bit} in the field at {lowest}");
                owners += u64::from(is_inside);
            }
            assert_eq!(owners, defined >> bit & 1, "bit {bit} is reserved or has one field");
        }
    }

    #[test]
    fn every_bit_lies_in_the_field_the_specification_draws_it_in() {
        every_bit_is_in_its_field(&REMAPPED, REMAPPED_LOW_DEFINED);
        every_bit_is_in_its_field(&POSTED, POSTED_LOW_DEFINED);
        every_bit_is_in_its_field(&HIGH, IRTE_HIGH_DEFINED);
        assert_eq!(REMAPPED_HIGH_DEFINED, IRTE_HIGH_DEFINED & 0xffff_ffff);
    }

    #[test]
    fn a_field_that_is_set_reads_as_it_was_set_and_leaves_the_others_alone() {
        for vector in 0..=u8::MAX {
            let destination = PostedDestination::from_bits(0x8000_0001 ^ u32::from(vector) << 8);
            let remapped = RemappedIrteLow::new().with_vector(vector).with_destination(destination);
            let expected = u64::from(vector) << 16 | u64::from(destination.into_bits()) << 32;
            assert_eq!(remapped.into_bits(), expected);
            let posted = PostedIrteLow::new().with_vector(vector).with_is_urgent(true).with_descriptor_low(1);
            assert_eq!(posted.into_bits(), u64::from(vector) << 16 | 1 << 14 | 1 << 38);
        }
        assert_eq!(Irte { low: 1, high: 2 }.bits(), 2 << 64 | 1);
    }

    #[test]
    fn every_bit_of_a_descriptors_address_has_its_place_and_comes_back() {
        for bit in 6..u64::BITS {
            let address = DescriptorAddress::new(1 << bit).expect("a multiple of 64");
            let low = PostedIrteLow::new().with_descriptor_low(address.low()).into_bits();
            let high = IrteHigh::new().with_descriptor_high(address.high()).into_bits();
            let entry = Irte { low, high };
            let expected = if bit < 32 { 1_u128 << (32 + bit) } else { 1 << (64 + bit) };
            assert_eq!((entry.bits(), entry.descriptor()), (expected, address), "bit {bit}");
        }
        for bit in 0..6 {
            assert_eq!(DescriptorAddress::new(1 << bit), Err(NoDescriptorAddress(1 << bit)));
        }
    }
}
