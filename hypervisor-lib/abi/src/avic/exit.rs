//! The two exits of AVIC and what they tell (APM vol. 2, 15.29.9).

use crate::apic::Icr;

/// `VMEXIT_AVIC_INCOMPLETE_IPI`: a write of the interrupt command register that the processor could not finish.
pub const EXIT_INCOMPLETE_IPI: u64 = 0x401;

/// `VMEXIT_AVIC_NOACCEL`: an access to a register that the processor does not handle, or the end of a level-triggered
/// interrupt.
pub const EXIT_NO_ACCELERATION: u64 = 0x402;

/// What [`EXIT_INCOMPLETE_IPI`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncompleteIpi {
    /// What was written. The write is complete: the exit is trap-like.
    pub icr: Icr,
    /// What stopped it.
    pub failure: IpiFailure,
    /// The table entry it stopped at, for the failures that have one. Which of several, and of which table, the manual
    /// leaves open.
    pub index: u16,
}

/// What stopped an inter-processor interrupt (APM vol. 2, table 15-27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpiFailure {
    /// It is level-triggered, or not of fixed delivery mode: nothing was delivered.
    InvalidType,
    /// It was delivered to all targets; some of them are on no processor.
    TargetNotRunning,
    /// A target is in neither table: nothing was delivered to any.
    InvalidTarget,
    /// The entry of a target holds no address of a page.
    InvalidBackingPage,
    /// The vector is below 16: nothing was delivered.
    InvalidVector,
    /// Only the sender itself can be a target of an accelerated command under Secure AVIC.
    SecureAvic,
    /// A number the manual reserves.
    Reserved(u32),
}

impl IpiFailure {
    const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::InvalidType,
            1 => Self::TargetNotRunning,
            2 => Self::InvalidTarget,
            3 => Self::InvalidBackingPage,
            4 => Self::InvalidVector,
            5 => Self::SecureAvic,
            other => Self::Reserved(other),
        }
    }
}

impl IncompleteIpi {
    /// What the two information words of the exit hold.
    #[must_use]
    pub const fn from_info(info1: u64, info2: u64) -> Self {
        let [low, high, _, _, a, b, c, d] = info2.to_le_bytes();
        Self {
            icr: Icr::from_bits(info1),
            failure: IpiFailure::from_number(u32::from_le_bytes([a, b, c, d])),
            index: u16::from_le_bytes([low, high]) & 0xfff,
        }
    }
}

/// Which way an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// From the register.
    Read,
    /// To it.
    Write,
}

/// What [`EXIT_NO_ACCELERATION`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAcceleration {
    /// Whether it was read or written.
    pub access: AccessKind,
    /// Where, in bytes into the page; a multiple of 16.
    pub offset: u16,
    /// The highest vector in service, if EOI was written; undefined otherwise.
    pub vector: u8,
}

impl NoAcceleration {
    /// What the two information words of the exit hold.
    #[must_use]
    pub const fn from_info(info1: u64, info2: u64) -> Self {
        let [low, high, ..] = info1.to_le_bytes();
        let [vector, ..] = info2.to_le_bytes();
        Self {
            access: if info1 >> 32 & 1 == 0 { AccessKind::Read } else { AccessKind::Write },
            offset: u16::from_le_bytes([low, high]) & 0xff0,
            vector,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AccessKind;
    use super::IncompleteIpi;
    use super::IpiFailure;
    use super::NoAcceleration;

    #[test]
    fn an_incomplete_ipi_tells_command_failure_and_index() {
        let exit = IncompleteIpi::from_info(0x0300_0000_0000_0851, 0x0000_0001_ffff_f123);
        assert_eq!((exit.icr.vector(), exit.icr.destination()), (0x51, 0x0300_0000));
        assert_eq!((exit.failure, exit.index), (IpiFailure::TargetNotRunning, 0x123));
        let failures = [
            IpiFailure::InvalidType,
            IpiFailure::TargetNotRunning,
            IpiFailure::InvalidTarget,
            IpiFailure::InvalidBackingPage,
            IpiFailure::InvalidVector,
            IpiFailure::SecureAvic,
            IpiFailure::Reserved(6),
        ];
        for (number, failure) in (0..).zip(failures) {
            assert_eq!(IncompleteIpi::from_info(0, number << 32).failure, failure);
        }
    }

    #[test]
    fn an_unaccelerated_access_tells_direction_register_and_vector() {
        let exit = NoAcceleration::from_info(0x0000_0001_ffff_f0bf, 0xffff_ff61);
        assert_eq!(exit, NoAcceleration { access: AccessKind::Write, offset: 0x0b0, vector: 0x61 });
        assert_eq!(NoAcceleration::from_info(0x390, 0).access, AccessKind::Read);
    }
}
