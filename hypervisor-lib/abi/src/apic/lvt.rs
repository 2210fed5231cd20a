//! The local vector table: what the local APIC makes of its own sources (SDM vol. 3A, 11.5.1).

use bitfield_struct::bitfield;

use super::ApicRegister;
use super::DeliveryMode;
use super::TriggerMode;

/// An entry of the local vector table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LvtEntry {
    /// Corrected machine checks.
    Cmci,
    /// The timer.
    Timer,
    /// The thermal sensor.
    Thermal,
    /// The performance counters.
    Performance,
    /// The pin LINT0, to which PCs wire the 8259 interrupt controllers.
    Lint0,
    /// The pin LINT1, to which PCs wire the NMI.
    Lint1,
    /// The errors of the error status register.
    Error,
}

impl LvtEntry {
    /// Every entry, in the order of their registers.
    pub const ALL: [Self; 7] =
        [Self::Cmci, Self::Timer, Self::Thermal, Self::Performance, Self::Lint0, Self::Lint1, Self::Error];

    /// Its place in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The register that holds it.
    #[must_use]
    pub const fn register(self) -> ApicRegister {
        ApicRegister::Lvt(self)
    }

    /// The bits software may set, if the timer has a deadline mode. The delivery status and the remote IRR are read-only.
    #[must_use]
    pub const fn writable(self) -> u32 {
        const VECTOR_AND_MASK: u32 = 0x0001_00ff;
        const DELIVERY: u32 = 0x0000_0700;
        match self {
            Self::Timer => VECTOR_AND_MASK | 0x0006_0000,
            Self::Error => VECTOR_AND_MASK,
            Self::Cmci | Self::Thermal | Self::Performance => VECTOR_AND_MASK | DELIVERY,
            Self::Lint0 | Self::Lint1 => VECTOR_AND_MASK | DELIVERY | 0x0000_a000,
        }
    }

    /// The bits that are defined but read-only: a write may hold anything there.
    #[must_use]
    pub const fn read_only(self) -> u32 {
        match self {
            Self::Lint0 | Self::Lint1 => 0x0000_5000,
            _ => 0x0000_1000,
        }
    }
}

/// Which level of a pin means that it is asserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Polarity {
    /// The high one.
    ActiveHigh,
    /// The low one.
    ActiveLow,
}

impl Polarity {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        if bits & 1 == 0 { Self::ActiveHigh } else { Self::ActiveLow }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// How the timer counts (SDM vol. 3A, 11.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerMode {
    /// Down from the initial count, once.
    OneShot,
    /// Down from the initial count, again and again.
    Periodic,
    /// Until the time-stamp counter reaches `IA32_TSC_DEADLINE`.
    TscDeadline,
    /// No mode: the timer stands still.
    Reserved,
}

impl TimerMode {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// The value of an entry; which fields count depends on the entry.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Lvt {
    /// The vector.
    pub vector: u8,
    /// What kind of interrupt.
    #[bits(3)]
    pub delivery: DeliveryMode,
    #[bits(1)]
    __: u8,
    /// The interrupt is on its way (read-only).
    pub send_pending: bool,
    /// Which level asserts the pin.
    #[bits(1)]
    pub polarity: Polarity,
    /// A level-triggered interrupt of the pin has been accepted and not ended (read-only).
    pub remote_irr: bool,
    /// How the pin signals; counts for fixed delivery.
    #[bits(1)]
    pub trigger: TriggerMode,
    /// Nothing is delivered.
    pub masked: bool,
    /// How the timer counts.
    #[bits(2)]
    pub timer_mode: TimerMode,
    #[bits(13)]
    __: u16,
}

impl Lvt {
    /// The value after reset: masked.
    pub const RESET: Self = Self::from_bits(0x0001_0000);
}

#[cfg(test)]
mod tests {
    use super::Lvt;
    use super::LvtEntry;
    use super::Polarity;
    use super::TimerMode;
    use crate::apic::DeliveryMode;
    use crate::apic::TriggerMode;

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        let lint = Lvt::from(0x0001_e7ff);
        assert_eq!((lint.vector(), lint.delivery()), (0xff, DeliveryMode::ExtInt));
        assert_eq!((lint.polarity(), lint.trigger()), (Polarity::ActiveLow, TriggerMode::Level));
        assert!(lint.masked() && lint.remote_irr() && !lint.send_pending());
        assert_eq!(Lvt::from(0x0004_0000).timer_mode(), TimerMode::TscDeadline);
        assert!(Lvt::RESET.masked());
    }

    #[test]
    fn no_bit_of_an_entry_is_both_writable_and_read_only() {
        for entry in LvtEntry::ALL {
            assert_eq!(entry.writable() & entry.read_only(), 0, "{entry:?}");
            assert_eq!(LvtEntry::ALL[entry.index()], entry);
        }
    }
}
