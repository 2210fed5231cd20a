//! Interrupt vectors and the three priority scales that must not be mixed up.
//!
//! A local APIC serves the *higher* vector first; a FIFO event channel serves the *lower* number first. So none of
//! these types is `Ord`: each says `outranks`, and means its own scale.

use core::fmt;

/// A vector a local APIC accepts: 16 to 255 (SDM vol. 3A, 11.5.2: 0–15 are illegal).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vector(u8);

/// The number is no legal interrupt vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vector {0:#04x} is illegal: a local APIC accepts 0x10 to 0xff")]
pub struct IllegalVector(pub u8);

impl Vector {
    /// The lowest legal vector.
    pub const LOWEST: Self = Self(0x10);
    /// The highest vector.
    pub const HIGHEST: Self = Self(0xff);

    /// Checks a number once, so that nothing behind this border has to.
    ///
    /// # Errors
    /// [`IllegalVector`] below 16.
    pub const fn new(number: u8) -> Result<Self, IllegalVector> {
        if number < 0x10 { Err(IllegalVector(number)) } else { Ok(Self(number)) }
    }

    /// The number as hardware carries it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The number as an index into a 256-entry table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bits 7:4, the scale on which interrupts pre-empt each other.
    #[must_use]
    pub const fn class(self) -> PriorityClass {
        PriorityClass(self.0 >> 4)
    }

    /// Whether this vector is served before `other` when both wait in one local APIC.
    #[must_use]
    pub const fn outranks(self, other: Self) -> bool {
        self.0 > other.0
    }

    /// Whether this vector, in service, keeps `other` waiting: everything of its class and below does
    /// (SDM vol. 3A, 11.8.3.1: dispatch needs a class above the processor-priority class).
    #[must_use]
    pub const fn blocks_in_service(self, other: Self) -> bool {
        self.class().0 >= other.class().0
    }

    /// All legal vectors, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0x10..=0xff).map(Self)
    }
}

impl TryFrom<u8> for Vector {
    type Error = IllegalVector;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::new(number)
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}", self.0)
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vector({:#04x})", self.0)
    }
}

/// The priority class of a vector, 1 to 15; a higher class outranks a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PriorityClass(u8);

impl PriorityClass {
    /// The class number, 1–15.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether an interrupt of this class pre-empts a handler of `other`.
    #[must_use]
    pub const fn outranks(self, other: Self) -> bool {
        self.0 > other.0
    }
}

impl fmt::Display for PriorityClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::IllegalVector;
    use super::Vector;

    #[test]
    fn vectors_below_16_are_refused_by_number() {
        for number in 0..16 {
            assert_eq!(Vector::new(number), Err(IllegalVector(number)));
        }
        assert_eq!(Vector::all().count(), 240);
    }

    #[test]
    fn over_all_pairs_outranking_is_a_strict_order_and_blocking_follows_the_class() {
        for a in Vector::all() {
            for b in Vector::all() {
                assert_eq!(a.outranks(b), a.number() > b.number());
                assert!(!(a.outranks(b) && b.outranks(a)));
                assert_eq!(a.blocks_in_service(b), !b.class().outranks(a.class()));
            }
        }
    }
}
