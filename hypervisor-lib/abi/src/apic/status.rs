//! The registers that say what a local APIC is and how it stands.

use bitfield_struct::bitfield;

/// The version register (SDM vol. 3A, 11.4.8).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ApicVersion {
    /// 0x10 to 0x15 for one that is part of its processor.
    pub version: u8,
    #[bits(8)]
    __: u8,
    /// How many entries the local vector table has, less one.
    pub max_lvt: u8,
    /// Software may suppress the broadcast of EOIs.
    pub suppresses_eoi: bool,
    #[bits(7)]
    __: u8,
}

/// The spurious-interrupt vector register (SDM vol. 3A, 11.9).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SpuriousVector {
    /// What an acknowledge cycle is given when nothing can be dispatched any more.
    pub vector: u8,
    /// The local APIC is software-enabled.
    pub enabled: bool,
    /// Read and written, without effect since the Pentium 4.
    pub focus_disabled: bool,
    #[bits(2)]
    __: u8,
    /// The end of a level-triggered interrupt is not told to the I/O APICs.
    pub suppress_eoi: bool,
    #[bits(19)]
    __: u32,
}

impl SpuriousVector {
    /// The value after reset: software-disabled, vector 0xff.
    pub const RESET: Self = Self::from_bits(0xff);
}

/// The error status register (SDM vol. 3A, 11.5.3).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ErrorStatus {
    #[bits(4)]
    __: u8,
    /// A lowest-priority command on a processor that cannot send one.
    pub redirectable_ipi: bool,
    /// A command with a vector below 16.
    pub send_illegal_vector: bool,
    /// A message, or an entry of the local vector table, with a vector below 16.
    pub receive_illegal_vector: bool,
    /// An access to a register that is not there (xAPIC only).
    pub illegal_register: bool,
    #[bits(24)]
    __: u32,
}

/// The divide configuration register: by how much the timer divides its clock (SDM vol. 3A, 11.5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DivideConfiguration(u32);

impl DivideConfiguration {
    /// The bits that count: 3, 1 and 0.
    pub const WRITABLE: u32 = 0xb;

    /// The value with those bits of `value` that count.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value & Self::WRITABLE)
    }

    /// The register's value.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The divisor's binary logarithm, 0 to 7.
    #[must_use]
    pub const fn shift(self) -> u32 {
        ((self.0 & 3 | (self.0 & 8) >> 1) + 1) & 7
    }
}

#[cfg(test)]
mod tests {
    use super::ApicVersion;
    use super::DivideConfiguration;
    use super::ErrorStatus;
    use super::SpuriousVector;

    #[test]
    fn every_divide_configuration_has_the_divisor_of_the_manual() {
        let divisors = [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)];
        for (value, divisor) in divisors {
            assert_eq!(1 << DivideConfiguration::new(value).shift(), divisor, "{value:#x}");
        }
        assert_eq!(DivideConfiguration::new(0xffff_ffff).value(), 0xb);
    }

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        assert_eq!(u32::from(ApicVersion::new().with_version(0x14).with_max_lvt(5)), 0x0005_0014);
        assert_eq!(u32::from(ApicVersion::new().with_suppresses_eoi(true)), 1 << 24);
        assert!(SpuriousVector::from(0x1100).enabled() && SpuriousVector::from(0x1000).suppress_eoi());
        assert_eq!(u32::from(ErrorStatus::new().with_send_illegal_vector(true)), 0x20);
        assert_eq!(u32::from(ErrorStatus::new().with_receive_illegal_vector(true)), 0x40);
        assert_eq!(u32::from(ErrorStatus::new().with_illegal_register(true)), 0x80);
        assert_eq!(u32::from(ErrorStatus::new().with_redirectable_ipi(true)), 0x10);
    }
}
