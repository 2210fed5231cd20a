//! A register of 256 bits, one a vector: IRR, ISR, TMR.

use core::fmt;

use hypervisor_abi::apic::VectorBank;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

/// A register of 256 bits, and a note of which of its four words are not empty: so the highest vector is found by looking
/// at one word, wherever it is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct VectorRegister {
    words: [u64; 4],
    /// Bit i is set exactly if `words[i]` is not zero.
    occupied: u8,
}

impl VectorRegister {
    /// The register with these words; bits of illegal vectors (0–15) are dropped.
    #[must_use]
    pub const fn from_words(words: [u64; 4]) -> Self {
        let mut register = Self { words: [0; 4], occupied: 0 };
        register.merge(0, words[0]);
        register.merge(1, words[1]);
        register.merge(2, words[2]);
        register.merge(3, words[3]);
        register
    }

    /// The bits as four words, vector 0 in bit 0 of the first.
    #[must_use]
    pub const fn words(&self) -> &[u64; 4] {
        &self.words
    }

    /// The 32 vectors of one of the eight registers software sees.
    #[must_use]
    pub const fn bank(&self, bank: VectorBank) -> u32 {
        let word = self.words[bank.index() / 2].to_le_bytes();
        let half = bank.index() % 2 * 4;
        u32::from_le_bytes([word[half], word[half + 1], word[half + 2], word[half + 3]])
    }

    /// Whether the vector's bit is set.
    #[inline]
    #[must_use]
    pub const fn contains(&self, vector: Vector) -> bool {
        self.words[vector.index() / 64] >> (vector.index() % 64) & 1 == 1
    }

    /// Sets the vector's bit.
    #[inline]
    pub const fn insert(&mut self, vector: Vector) {
        let word = vector.index() / 64;
        self.words[word] |= 1 << (vector.index() % 64);
        self.occupied |= 1 << word;
    }

    /// Clears the vector's bit.
    #[inline]
    pub const fn remove(&mut self, vector: Vector) {
        let word = vector.index() / 64;
        self.words[word] &= !(1 << (vector.index() % 64));
        self.occupied &= !(((self.words[word] == 0) as u8) << word);
    }

    /// Sets the bits of `bits` in word `word`, 0 to 3; those of illegal vectors are dropped.
    #[inline]
    pub const fn merge(&mut self, word: usize, bits: u64) {
        let legal = if word == 0 { bits & !0xffff } else { bits };
        self.words[word] |= legal;
        self.occupied |= ((self.words[word] != 0) as u8) << word;
    }

    /// Clears the bits of `bits` in word `word`, 0 to 3.
    #[inline]
    pub const fn clear(&mut self, word: usize, bits: u64) {
        self.words[word] &= !bits;
        self.occupied &= !(((self.words[word] == 0) as u8) << word);
    }

    /// Whether no bit is set.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// The vector that outranks every other one in the register.
    #[inline]
    #[must_use]
    pub const fn highest(&self) -> Option<Vector> {
        if self.occupied == 0 {
            return None;
        }
        let word = 7 - self.occupied.leading_zeros();
        let number = word * 64 + 63 - self.words[word as usize & 3].leading_zeros();
        match Vector::new(number.to_le_bytes()[0]) {
            Ok(vector) => Some(vector),
            Err(_) => None,
        }
    }

    /// The register as a set.
    #[must_use]
    pub const fn to_set(self) -> VectorSet {
        VectorSet::from_words(self.words)
    }
}

impl fmt::Debug for VectorRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_set().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::VectorBank;
    use proptest::prelude::any;
    use proptest::proptest;
    use vector_allocator::Vector;
    use vector_allocator::VectorSet;

    use super::VectorRegister;

    fn agree(register: &VectorRegister, set: &VectorSet) {
        assert_eq!(register.words(), set.words());
        assert_eq!(register.highest(), set.highest());
        assert_eq!(register.is_empty(), set.is_empty());
        for (i, word) in set.words().iter().enumerate() {
            assert_eq!(register.occupied >> i & 1 == 1, *word != 0, "word {i}");
        }
    }

    proptest! {
        #[test]
        fn a_register_agrees_with_a_set(
            words in any::<[u64; 4]>(), vector in 16_u8.., word in 0..4_usize, bits in any::<u64>()
        ) {
            let vector = Vector::new(vector).unwrap();
            let (mut register, mut set) = (VectorRegister::from_words(words), VectorSet::from_words(words));
            agree(&register, &set);
            for bank in VectorBank::ALL {
                let expected = set.words()[bank.index() / 2] >> (32 * (bank.index() % 2)) & 0xffff_ffff;
                assert_eq!(u64::from(register.bank(bank)), expected);
            }
            register.insert(vector);
            set.insert(vector);
            agree(&register, &set);
            assert!(register.contains(vector));
            register.remove(vector);
            set.remove(vector);
            agree(&register, &set);
            let mut chosen = [0; 4];
            chosen[word] = bits;
            register.merge(word, bits);
            agree(&register, &set.union(&VectorSet::from_words(chosen)));
            register.clear(word, bits);
            agree(&register, &set.difference(&VectorSet::from_words(chosen)));
        }
    }
}
