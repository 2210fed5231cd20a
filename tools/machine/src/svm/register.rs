//! Which accesses of a guest to its local APIC the processor does itself, and how much of them (APM vol. 2, 15.29.3.1 and
//! table 15-22).

use hypervisor_abi::apic::SLOT_SIZE;

use super::Direction;
use super::ExtendedLvt;
use super::vmcb::Mode;

/// Where a register stands in the page: 0 to 0xff0, a multiple of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterOffset(u16);

impl RegisterOffset {
    pub(super) const ID: Self = Self(0x020);
    pub(super) const TPR: Self = Self(0x080);
    pub(super) const PPR: Self = Self(0x0a0);
    pub(super) const EOI: Self = Self(0x0b0);
    pub(super) const DFR: Self = Self(0x0e0);
    pub(super) const ICR_LOW: Self = Self(0x300);
    pub(super) const ICR_HIGH: Self = Self(0x310);
    pub(super) const SELF_IPI: Self = Self(0x3f0);

    /// The register that the byte at `address` belongs to, by the address's low 12 bits.
    #[must_use]
    pub const fn of_address(address: u64) -> Self {
        let [low, high, ..] = address.to_le_bytes();
        Self(u16::from_le_bytes([low & 0xf0, high & 0xf]))
    }

    /// The register of an MSR; none outside the local APIC's 256.
    #[must_use]
    pub const fn of_msr(msr: u32) -> Option<Self> {
        match msr {
            0x800..=0x8ff => Some(Self(msr.to_le_bytes()[0] as u16 * SLOT_SIZE)),
            _ => None,
        }
    }

    /// Where it is, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        self.0
    }

    /// How an access to it is treated.
    pub(super) const fn treatment(self, direction: Direction, mode: Mode, extended: ExtendedLvt) -> Treatment {
        if !self.exists(mode) {
            return Treatment::GeneralProtection;
        }
        match (direction, mode) {
            (Direction::Read, Mode::Msrs) if self.0 == 0x3f0 => Treatment::GeneralProtection,
            (Direction::Write, Mode::Msrs) if self.0 == 0x3f0 => Treatment::SelfIpi,
            (Direction::Read, _) => self.read(extended),
            (Direction::Write, _) => self.write(extended),
        }
    }

    /// Whether there is such a register in the mode. In the page every offset is one, if only of memory.
    const fn exists(self, mode: Mode) -> bool {
        let in_msrs = matches!(
            self.0,
            0x020 | 0x030
                | 0x080..=0x0b0
                | 0x0d0
                | 0x0f0..=0x280
                | 0x300
                | 0x320..=0x390
                | 0x3e0
                | 0x3f0
                | 0x400..=0x420
                | 0x480..=0x530
        );
        in_msrs || !matches!(mode, Mode::Msrs)
    }

    const fn read(self, extended: ExtendedLvt) -> Treatment {
        match self.0 {
            0x500..=0x530 if matches!(extended, ExtendedLvt::Accessible) => Treatment::Memory,
            0x090 | 0x390 | 0x400..=0x420 | 0x480..=0xff0 => Treatment::Fault,
            _ => Treatment::Memory,
        }
    }

    const fn write(self, extended: ExtendedLvt) -> Treatment {
        match self.0 {
            0x500..=0x530 if matches!(extended, ExtendedLvt::Accessible) => Treatment::Trap,
            0x030 | 0x090 | 0x0a0 | 0x100..=0x270 | 0x390 | 0x400..=0x420 | 0x480..=0xff0 => Treatment::Fault,
            0x020 | 0x0c0..=0x0f0 | 0x280 | 0x320..=0x380 | 0x3e0 => Treatment::Trap,
            0x080 => Treatment::TaskPriority,
            0x0b0 => Treatment::EndOfInterrupt,
            0x300 => Treatment::Command,
            _ => Treatment::Memory,
        }
    }
}

/// What the processor does at an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Treatment {
    /// The page is read or written, and that is all.
    Memory,
    /// It is a write to TPR.
    TaskPriority,
    /// It is a write to EOI.
    EndOfInterrupt,
    /// It is a write to ICR's lower half.
    Command,
    /// It is a write to SELF IPI.
    SelfIpi,
    /// The page is written, and the guest left.
    Trap,
    /// The guest is left.
    Fault,
    /// There is no such register.
    GeneralProtection,
}
