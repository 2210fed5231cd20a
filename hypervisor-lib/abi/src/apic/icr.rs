//! The interrupt command register, by which a processor sends interrupts to processors (SDM vol. 3A, 11.6.1, 11.12.9).

use bitfield_struct::bitfield;

/// What kind of interrupt a message carries (SDM vol. 3A, 11.6.1, 11.5.1, 11.11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// The vector of the message, to every destination.
    Fixed,
    /// The vector of the message, to the destination that runs at the lowest priority.
    LowestPriority,
    /// A system-management interrupt.
    Smi,
    /// No kind; nothing is sent.
    Reserved,
    /// A non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// Start-up (SIPI); the vector is the number of the page that is started at. None in an LVT or an MSI.
    StartUp,
    /// The vector is the external interrupt controller's. None in the interrupt command register.
    ExtInt,
}

impl DeliveryMode {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            3 => Self::Reserved,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            _ => Self::ExtInt,
        }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// How a destination is compared with a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestinationMode {
    /// By its number.
    Physical,
    /// By its logical ID.
    Logical,
}

impl DestinationMode {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        if bits & 1 == 0 { Self::Physical } else { Self::Logical }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// How an interrupt signals, and whether its end is reported to an I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TriggerMode {
    /// By an edge; its end concerns the local APIC alone.
    Edge,
    /// By a level; its end is told to the I/O APICs.
    Level,
}

impl TriggerMode {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        if bits & 1 == 0 { Self::Edge } else { Self::Level }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// The level of a command or an MSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcrLevel {
    /// The message takes an INIT or a line back.
    Deassert,
    /// Every other message.
    Assert,
}

impl IcrLevel {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        if bits & 1 == 0 { Self::Deassert } else { Self::Assert }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// A destination in place of the destination field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shorthand {
    /// None: the destination field counts.
    None,
    /// The sender.
    Myself,
    /// Every local APIC, the sender's too.
    All,
    /// Every local APIC but the sender's.
    Others,
}

impl Shorthand {
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::None,
            1 => Self::Myself,
            2 => Self::All,
            _ => Self::Others,
        }
    }

    pub(crate) const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// The value of the interrupt command register as x2APIC has it. In xAPIC mode the destination is the 8 bits from 56 on.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Icr {
    /// The vector.
    pub vector: u8,
    /// What kind of interrupt.
    #[bits(3)]
    pub delivery: DeliveryMode,
    /// How the destination is meant.
    #[bits(1)]
    pub destination_mode: DestinationMode,
    /// The message is on its way (xAPIC only; read-only).
    pub send_pending: bool,
    #[bits(1)]
    __: u8,
    /// Deassert only takes an INIT back.
    #[bits(1)]
    pub level: IcrLevel,
    /// Counts only for a deasserted INIT.
    #[bits(1)]
    pub trigger: TriggerMode,
    #[bits(2)]
    __: u8,
    /// A destination in place of `destination`.
    #[bits(2)]
    pub shorthand: Shorthand,
    #[bits(12)]
    __: u16,
    /// Whom the message is for.
    pub destination: u32,
}

impl Icr {
    /// The bits of the lower half that software may set: all but the delivery status and the reserved ones.
    pub const WRITABLE_LOW: u32 = 0x000c_cfff;

    /// The bits of the upper half that software may set in xAPIC mode.
    pub const WRITABLE_HIGH_XAPIC: u32 = 0xff00_0000;

    /// The lower half.
    #[must_use]
    pub const fn low(self) -> u32 {
        let [a, b, c, d, ..] = self.into_bits().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The value with another lower half.
    #[must_use]
    pub const fn with_low(self, low: u32) -> Self {
        Self::from_bits(self.into_bits() & !0xffff_ffff | low as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::DeliveryMode;
    use super::DestinationMode;
    use super::Icr;
    use super::IcrLevel;
    use super::Shorthand;
    use super::TriggerMode;

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        let icr = Icr::from(0x0000_0102_000c_c9a5);
        assert_eq!(icr.vector(), 0xa5);
        assert_eq!(icr.delivery(), DeliveryMode::LowestPriority);
        assert_eq!(icr.destination_mode(), DestinationMode::Logical);
        assert_eq!(icr.level(), IcrLevel::Assert);
        assert_eq!(icr.trigger(), TriggerMode::Level);
        assert_eq!(icr.shorthand(), Shorthand::Others);
        assert_eq!(icr.destination(), 0x102);
    }

    #[test]
    fn every_delivery_mode_has_its_number() {
        for bits in 0..8_u64 {
            let icr = Icr::from(bits << 8);
            assert_eq!(u64::from(Icr::new().with_delivery(icr.delivery())), bits << 8);
            assert_eq!(icr.delivery() as u64, bits);
        }
    }

    #[test]
    fn software_may_set_every_field_but_the_delivery_status() {
        let all = Icr::new()
            .with_vector(0xff)
            .with_delivery(DeliveryMode::ExtInt)
            .with_destination_mode(DestinationMode::Logical)
            .with_level(IcrLevel::Assert)
            .with_trigger(TriggerMode::Level)
            .with_shorthand(Shorthand::Others);
        assert_eq!(u64::from(all), u64::from(Icr::WRITABLE_LOW));
    }
}
