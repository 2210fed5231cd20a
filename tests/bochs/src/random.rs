//! Seeded pseudo-random numbers: xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators").

use core::fmt;

/// What a run begins with.
#[derive(Clone, Copy)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The seed that the script wrote into the boot sector.
    pub(crate) fn of_boot_sector() -> Self {
        let seed = core::ptr::with_exposed_provenance::<u64>(0x7df0);
        // SAFETY: the boot sector is still where the BIOS put it, below everything that the image uses; it is mapped one to
        // one, the address is a multiple of eight, and nobody writes there.
        Self(unsafe { seed.read_volatile() })
    }

    /// Numbers for one check, independent of those of the others.
    pub(crate) fn numbers(self, check: u64) -> Numbers {
        // Never 0, on which xorshift stays for ever.
        Numbers((self.0 ^ check.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A sequence of numbers.
pub(crate) struct Numbers(u64);

impl Numbers {
    /// The next one, all 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u16) -> u16 {
        let scaled = ((self.next() >> 48) * u64::from(bound)) >> 16;
        u16::try_from(scaled).expect("less than a bound of 16 bits")
    }

    /// Any byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    /// True in one of `bound` cases.
    pub(crate) fn once_in(&mut self, bound: u16) -> bool {
        self.below(bound) == 0
    }

    /// One of `choices`.
    pub(crate) fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[usize::from(self.below(u16::try_from(N).expect("few choices")))]
    }

    /// A vector that the APIC accepts.
    pub(crate) fn vector(&mut self) -> u8 {
        16 + self.below(240).to_le_bytes()[0]
    }
}
