//! The places registers can stand at.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::page::PAGE_SIZE;

/// One of the 256 places a register of the local APIC can stand at, whether or not one does: 16 bytes of the page, or an MSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterSlot(u8);

/// A number that is no such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// Registers stand 16 bytes apart.
    #[error("no register begins at {0:#x}: they stand 16 bytes apart")]
    Between(u16),
    /// The page has 4096 bytes.
    #[error("{0:#x} is beyond the register page, which ends at 0xfff")]
    BeyondPage(u16),
    /// The registers have the MSRs from 800h to 8FFh.
    #[error("MSR {0:#x} is none of the local APIC's, which are 0x800 to 0x8ff")]
    NotAnMsr(u32),
}

impl RegisterSlot {
    /// The place at `offset` bytes into the page.
    ///
    /// # Errors
    /// [`Between`](NoSlot::Between) and [`BeyondPage`](NoSlot::BeyondPage).
    pub fn at_offset(offset: u16) -> Result<Self, NoSlot> {
        if usize::from(offset) >= PAGE_SIZE {
            return Err(NoSlot::BeyondPage(offset));
        }
        match (offset % SLOT_SIZE, u8::try_from(offset / SLOT_SIZE)) {
            (0, Ok(number)) => Ok(Self(number)),
            _ => Err(NoSlot::Between(offset)),
        }
    }

    /// The place of an MSR.
    ///
    /// # Errors
    /// [`NotAnMsr`](NoSlot::NotAnMsr).
    pub const fn of_msr(msr: u32) -> Result<Self, NoSlot> {
        match msr {
            MSR_X2APIC_FIRST..=MSR_X2APIC_LAST => Ok(Self(msr.to_le_bytes()[0])),
            _ => Err(NoSlot::NotAnMsr(msr)),
        }
    }

    /// The place of a register.
    #[must_use]
    pub const fn of(register: ApicRegister) -> Self {
        Self(register.msr().to_le_bytes()[0])
    }

    /// All of them, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// Where it is in the page, bytes.
    #[must_use]
    pub const fn offset(self) -> u16 {
        self.0 as u16 * SLOT_SIZE
    }

    /// Which MSR it is in x2APIC mode.
    #[must_use]
    pub const fn msr(self) -> u32 {
        MSR_X2APIC_FIRST + self.0 as u32
    }

    /// The register that stands there in some mode, if any does.
    #[must_use]
    pub const fn register(self) -> Option<ApicRegister> {
        ApicRegister::at_offset(self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::NoSlot;
    use super::RegisterSlot;

    #[test]
    fn every_place_has_one_offset_and_one_msr() {
        for slot in RegisterSlot::all() {
            assert_eq!(RegisterSlot::at_offset(slot.offset()), Ok(slot));
            assert_eq!(RegisterSlot::of_msr(slot.msr()), Ok(slot));
            assert_eq!(slot.register().map_or(slot, RegisterSlot::of), slot);
        }
        assert_eq!(RegisterSlot::all().count(), 256);
    }

    #[test]
    fn what_is_no_place_says_why() {
        assert_eq!(RegisterSlot::at_offset(0x304), Err(NoSlot::Between(0x304)));
        assert_eq!(RegisterSlot::at_offset(0x1000), Err(NoSlot::BeyondPage(0x1000)));
        for msr in [0x7ff, 0x900, 0x1_0830] {
            assert_eq!(RegisterSlot::of_msr(msr), Err(NoSlot::NotAnMsr(msr)));
        }
    }
}
