//! The registers by name, by their place in the page and by MSR (SDM vol. 3A, table 11-1 and table 11-6).

use core::fmt;

use super::LvtEntry;

/// How far apart registers stand in the page, in bytes; only the lower four of a slot hold anything.
pub const SLOT_SIZE: u16 = 16;

/// The first MSR of the local APIC in x2APIC mode.
pub const MSR_X2APIC_FIRST: u32 = 0x800;

/// The last MSR of the range the local APIC has for itself in x2APIC mode. No other is its: what lies between 0x900 and
/// 0xbff is as reserved as any unknown MSR (XSA-108).
pub const MSR_X2APIC_LAST: u32 = 0x8ff;

/// The MSR `IA32_TSC_DEADLINE`.
pub const MSR_TSC_DEADLINE: u32 = 0x6e0;

/// One of the eight registers of a 256-bit register: 32 vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VectorBank(u8);

impl VectorBank {
    /// All eight, ascending.
    pub const ALL: [Self; 8] = [Self(0), Self(1), Self(2), Self(3), Self(4), Self(5), Self(6), Self(7)];

    /// Its number, 0 to 7.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    const fn at(offset: u16) -> Self {
        Self((offset >> 4 & 7) as u8)
    }
}

/// A register of the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApicRegister {
    /// The local APIC's number.
    Id,
    /// What it is.
    Version,
    /// TPR: the class below and at which the processor takes nothing.
    TaskPriority,
    /// APR; gone since the Pentium 4.
    ArbitrationPriority,
    /// PPR: the class in force.
    ProcessorPriority,
    /// EOI: a write ends the interrupt in service.
    Eoi,
    /// RRR; gone since the Pentium 4.
    RemoteRead,
    /// LDR: its logical ID.
    LogicalDestination,
    /// DFR: how xAPIC logical IDs are compared.
    DestinationFormat,
    /// SVR: the spurious vector, and whether the local APIC is enabled.
    SpuriousVector,
    /// ISR: the vectors in service.
    InService(VectorBank),
    /// TMR: the vectors that were accepted level-triggered.
    TriggerMode(VectorBank),
    /// IRR: the vectors that wait.
    InterruptRequest(VectorBank),
    /// ESR: what went wrong.
    ErrorStatus,
    /// An entry of the local vector table.
    Lvt(LvtEntry),
    /// ICR: a write sends. In x2APIC mode all its 64 bits.
    IcrLow,
    /// ICR's destination, in xAPIC mode.
    IcrHigh,
    /// The timer's initial count.
    TimerInitialCount,
    /// What is left of it.
    TimerCurrentCount,
    /// By how much the timer divides its clock.
    TimerDivide,
    /// A write sends a vector to the sender (x2APIC).
    SelfIpi,
}

/// What software may do to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApicAccess {
    /// Read it; in xAPIC mode a write is ignored.
    ReadOnly,
    /// Write it; in xAPIC mode a read gives zero.
    WriteOnly,
    /// Both.
    ReadWrite,
    /// Nothing: it is not there.
    Reserved,
}

impl ApicRegister {
    /// The register at `offset` bytes into the page; none where there is no register, or not its beginning.
    #[must_use]
    pub const fn at_offset(offset: u16) -> Option<Self> {
        Some(match offset {
            0x020 => Self::Id,
            0x030 => Self::Version,
            0x080 => Self::TaskPriority,
            0x090 => Self::ArbitrationPriority,
            0x0a0 => Self::ProcessorPriority,
            0x0b0 => Self::Eoi,
            0x0c0 => Self::RemoteRead,
            0x0d0 => Self::LogicalDestination,
            0x0e0 => Self::DestinationFormat,
            0x0f0 => Self::SpuriousVector,
            0x100..=0x17f if offset.is_multiple_of(SLOT_SIZE) => Self::InService(VectorBank::at(offset)),
            0x180..=0x1ff if offset.is_multiple_of(SLOT_SIZE) => Self::TriggerMode(VectorBank::at(offset)),
            0x200..=0x27f if offset.is_multiple_of(SLOT_SIZE) => Self::InterruptRequest(VectorBank::at(offset)),
            0x280 => Self::ErrorStatus,
            0x2f0 => Self::Lvt(LvtEntry::Cmci),
            0x300 => Self::IcrLow,
            0x310 => Self::IcrHigh,
            0x320 => Self::Lvt(LvtEntry::Timer),
            0x330 => Self::Lvt(LvtEntry::Thermal),
            0x340 => Self::Lvt(LvtEntry::Performance),
            0x350 => Self::Lvt(LvtEntry::Lint0),
            0x360 => Self::Lvt(LvtEntry::Lint1),
            0x370 => Self::Lvt(LvtEntry::Error),
            0x380 => Self::TimerInitialCount,
            0x390 => Self::TimerCurrentCount,
            0x3e0 => Self::TimerDivide,
            0x3f0 => Self::SelfIpi,
            _ => return None,
        })
    }

    /// The register of an MSR number; none outside 0x800–0x8ff, or where there is no register.
    #[must_use]
    pub const fn of_msr(msr: u32) -> Option<Self> {
        match msr {
            MSR_X2APIC_FIRST..=MSR_X2APIC_LAST => Self::at_offset(msr.to_le_bytes()[0] as u16 * SLOT_SIZE),
            _ => None,
        }
    }

    /// Where it is in the page, in bytes.
    #[must_use]
    pub const fn offset(self) -> u16 {
        match self {
            Self::Id => 0x020,
            Self::Version => 0x030,
            Self::TaskPriority => 0x080,
            Self::ArbitrationPriority => 0x090,
            Self::ProcessorPriority => 0x0a0,
            Self::Eoi => 0x0b0,
            Self::RemoteRead => 0x0c0,
            Self::LogicalDestination => 0x0d0,
            Self::DestinationFormat => 0x0e0,
            Self::SpuriousVector => 0x0f0,
            Self::InService(bank) => 0x100 + bank.0 as u16 * SLOT_SIZE,
            Self::TriggerMode(bank) => 0x180 + bank.0 as u16 * SLOT_SIZE,
            Self::InterruptRequest(bank) => 0x200 + bank.0 as u16 * SLOT_SIZE,
            Self::ErrorStatus => 0x280,
            Self::Lvt(LvtEntry::Cmci) => 0x2f0,
            Self::IcrLow => 0x300,
            Self::IcrHigh => 0x310,
            Self::Lvt(LvtEntry::Timer) => 0x320,
            Self::Lvt(LvtEntry::Thermal) => 0x330,
            Self::Lvt(LvtEntry::Performance) => 0x340,
            Self::Lvt(LvtEntry::Lint0) => 0x350,
            Self::Lvt(LvtEntry::Lint1) => 0x360,
            Self::Lvt(LvtEntry::Error) => 0x370,
            Self::TimerInitialCount => 0x380,
            Self::TimerCurrentCount => 0x390,
            Self::TimerDivide => 0x3e0,
            Self::SelfIpi => 0x3f0,
        }
    }

    /// Its MSR in x2APIC mode, whether or not it exists there.
    #[must_use]
    pub const fn msr(self) -> u32 {
        MSR_X2APIC_FIRST + (self.offset() / SLOT_SIZE) as u32
    }

    /// What software may do to it in xAPIC mode.
    #[must_use]
    pub const fn xapic_access(self) -> ApicAccess {
        match self {
            Self::ArbitrationPriority | Self::RemoteRead | Self::SelfIpi => ApicAccess::Reserved,
            Self::Eoi => ApicAccess::WriteOnly,
            // Recent processors let nobody change the number (SDM vol. 3A, 11.4.6).
            Self::Id
            | Self::Version
            | Self::ProcessorPriority
            | Self::InService(_)
            | Self::TriggerMode(_)
            | Self::InterruptRequest(_)
            | Self::TimerCurrentCount => ApicAccess::ReadOnly,
            _ => ApicAccess::ReadWrite,
        }
    }

    /// What software may do to it in x2APIC mode; everything else is a general-protection fault.
    #[must_use]
    pub const fn x2apic_access(self) -> ApicAccess {
        match self {
            Self::DestinationFormat | Self::IcrHigh => ApicAccess::Reserved,
            Self::SelfIpi => ApicAccess::WriteOnly,
            Self::LogicalDestination => ApicAccess::ReadOnly,
            _ => self.xapic_access(),
        }
    }
}

impl fmt::Display for ApicRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => write!(f, "ID"),
            Self::Version => write!(f, "version"),
            Self::TaskPriority => write!(f, "TPR"),
            Self::ArbitrationPriority => write!(f, "APR"),
            Self::ProcessorPriority => write!(f, "PPR"),
            Self::Eoi => write!(f, "EOI"),
            Self::RemoteRead => write!(f, "RRR"),
            Self::LogicalDestination => write!(f, "LDR"),
            Self::DestinationFormat => write!(f, "DFR"),
            Self::SpuriousVector => write!(f, "SVR"),
            Self::InService(bank) => write!(f, "ISR{}", bank.0),
            Self::TriggerMode(bank) => write!(f, "TMR{}", bank.0),
            Self::InterruptRequest(bank) => write!(f, "IRR{}", bank.0),
            Self::ErrorStatus => write!(f, "ESR"),
            Self::Lvt(entry) => write!(f, "LVT {entry:?}"),
            Self::IcrLow => write!(f, "ICR"),
            Self::IcrHigh => write!(f, "ICR destination"),
            Self::TimerInitialCount => write!(f, "initial count"),
            Self::TimerCurrentCount => write!(f, "current count"),
            Self::TimerDivide => write!(f, "divide configuration"),
            Self::SelfIpi => write!(f, "SELF IPI"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ApicAccess;
    use super::ApicRegister;
    use crate::page::PAGE_SIZE;

    #[test]
    fn every_offset_is_a_register_that_says_it_is_there_or_none() {
        let registers = (0..u16::try_from(PAGE_SIZE).unwrap()).filter_map(|offset| {
            let register = ApicRegister::at_offset(offset)?;
            assert_eq!(register.offset(), offset, "{register}");
            Some(register)
        });
        assert_eq!(registers.count(), 10 + 24 + 1 + 1 + 2 + 6 + 2 + 2);
    }

    #[test]
    fn no_msr_outside_the_range_is_a_register() {
        for msr in (0..0x2000).filter(|msr| !(0x800..=0x8ff).contains(msr)).chain([u32::MAX, 0x1_0800, 0x8000_0808]) {
            assert_eq!(ApicRegister::of_msr(msr), None, "{msr:#x}");
        }
        for msr in 0x800..=0x8ff {
            assert!(ApicRegister::of_msr(msr).is_none_or(|register| register.msr() == msr), "{msr:#x}");
        }
    }

    #[test]
    fn x2apic_mode_takes_away_the_destination_registers_and_brings_self_ipi() {
        for offset in (0..0x400).step_by(16) {
            let Some(register) = ApicRegister::at_offset(offset) else { continue };
            let expected = match offset {
                0x0d0 => ApicAccess::ReadOnly,
                0x0e0 | 0x310 => ApicAccess::Reserved,
                0x3f0 => ApicAccess::WriteOnly,
                _ => register.xapic_access(),
            };
            assert_eq!(register.x2apic_access(), expected, "{register}");
        }
    }
}
