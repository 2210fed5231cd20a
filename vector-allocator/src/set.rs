//! A set of vectors: 256 bits, one per vector.

use core::fmt;

use bitvec::BitArr;
use bitvec::order::Lsb0;

use crate::Vector;

/// A set of [`Vector`]s.
///
/// Whole-set operations go over four machine words ([`words`](Self::words)); they are what allocation spends its time on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VectorSet(BitArr!(for 256, in u64, Lsb0));

impl VectorSet {
    /// The set without members.
    pub const EMPTY: Self = Self(bitvec::array::BitArray::ZERO);

    /// The set with the given words; bits of illegal vectors (0–15) are dropped.
    #[must_use]
    pub const fn from_words(mut words: [u64; 4]) -> Self {
        words[0] &= !0xffff;
        let mut set = Self::EMPTY;
        set.0.data = words;
        set
    }

    /// The vectors from `first` to `last`, both included; empty if `first` outranks `last`.
    #[must_use]
    pub fn range(first: Vector, last: Vector) -> Self {
        let mut set = Self::EMPTY;
        if !first.outranks(last) {
            set.0[first.index()..=last.index()].fill(true);
        }
        set
    }

    /// The bits as four words, vector 0 in bit 0 of the first.
    #[must_use]
    pub const fn words(&self) -> &[u64; 4] {
        &self.0.data
    }

    /// Whether `vector` is a member.
    #[must_use]
    pub const fn contains(&self, vector: Vector) -> bool {
        self.0.data[vector.index() / 64] >> (vector.index() % 64) & 1 == 1
    }

    /// Adds `vector`; whether it was new.
    pub const fn insert(&mut self, vector: Vector) -> bool {
        let new = !self.contains(vector);
        self.0.data[vector.index() / 64] |= 1 << (vector.index() % 64);
        new
    }

    /// Removes `vector`; whether it was a member.
    pub const fn remove(&mut self, vector: Vector) -> bool {
        let was = self.contains(vector);
        self.0.data[vector.index() / 64] &= !(1 << (vector.index() % 64));
        was
    }

    /// How many members there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        let w = self.words();
        w[0].count_ones() + w[1].count_ones() + w[2].count_ones() + w[3].count_ones()
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let w = self.words();
        (w[0] | w[1] | w[2] | w[3]) == 0
    }

    /// The member every other one outranks.
    #[must_use]
    pub const fn lowest(&self) -> Option<Vector> {
        // In which word it is no processor foresees, so all four are looked at, without a branch.
        let w = self.words();
        let (mut i, mut word) = (3, w[3]);
        (i, word) = if w[2] != 0 { (2, w[2]) } else { (i, word) };
        (i, word) = if w[1] != 0 { (1, w[1]) } else { (i, word) };
        (i, word) = if w[0] != 0 { (0, w[0]) } else { (i, word) };
        if word == 0 { None } else { at(i, word.trailing_zeros()) }
    }

    /// The member that outranks every other one.
    #[must_use]
    pub const fn highest(&self) -> Option<Vector> {
        let w = self.words();
        let (mut i, mut word) = (0, w[0]);
        (i, word) = if w[1] != 0 { (1, w[1]) } else { (i, word) };
        (i, word) = if w[2] != 0 { (2, w[2]) } else { (i, word) };
        (i, word) = if w[3] != 0 { (3, w[3]) } else { (i, word) };
        if word == 0 { None } else { at(i, 63 - word.leading_zeros()) }
    }

    /// The lowest member whose number is at least `index`, which may be past all.
    pub(crate) fn lowest_from(&self, index: usize) -> Option<Vector> {
        let mut above = u64::MAX << (index % 64);
        for (word, bits) in self.words().iter().enumerate().skip(index / 64) {
            if bits & above != 0 {
                return at(word, (bits & above).trailing_zeros());
            }
            above = u64::MAX;
        }
        None
    }

    /// The highest member whose number is below `index`, which may be past all.
    pub(crate) fn highest_below(&self, index: usize) -> Option<Vector> {
        for (word, bits) in self.words().iter().enumerate().rev() {
            let below = match index.saturating_sub(64 * word) {
                count @ 0..64 => bits & ((1 << count) - 1),
                _ => *bits,
            };
            if below != 0 {
                return at(word, 63 - below.leading_zeros());
            }
        }
        None
    }

    /// Members of either set.
    #[must_use]
    pub const fn union(&self, other: &Self) -> Self {
        let (a, b) = (self.words(), other.words());
        Self::from_words([a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]])
    }

    /// Members of both sets.
    #[must_use]
    pub const fn intersection(&self, other: &Self) -> Self {
        let (a, b) = (self.words(), other.words());
        Self::from_words([a[0] & b[0], a[1] & b[1], a[2] & b[2], a[3] & b[3]])
    }

    /// Members of this set that are not in `other`.
    #[must_use]
    pub const fn difference(&self, other: &Self) -> Self {
        let (a, b) = (self.words(), other.words());
        Self::from_words([a[0] & !b[0], a[1] & !b[1], a[2] & !b[2], a[3] & !b[3]])
    }

    /// Members that `bound` outranks.
    #[must_use]
    pub fn below(&self, bound: Vector) -> Self {
        self.intersection(&Self::from_words(ones_below(bound.index())))
    }

    /// Members that outrank `bound`.
    #[must_use]
    pub fn above(&self, bound: Vector) -> Self {
        self.difference(&Self::from_words(ones_below(bound.index() + 1)))
    }

    /// Members, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Vector> + '_ {
        Members(*self)
    }
}

/// The members of a set that have not been visited: each is found by its word, not by asking for all 256.
struct Members(VectorSet);

impl Iterator for Members {
    type Item = Vector;

    #[inline]
    fn next(&mut self) -> Option<Vector> {
        let lowest = self.0.lowest()?;
        self.0.remove(lowest);
        Some(lowest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.0.len() as usize;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Members {
    #[inline]
    fn next_back(&mut self) -> Option<Vector> {
        let highest = self.0.highest()?;
        self.0.remove(highest);
        Some(highest)
    }
}

/// The vector of bit `bit` in word `word`; none for an illegal one, which no set contains.
#[expect(clippy::cast_possible_truncation, reason = "word < 4 and bit < 64, so the number is below 256")]
const fn at(word: usize, bit: u32) -> Option<Vector> {
    match Vector::new((word * 64) as u8 + bit as u8) {
        Ok(vector) => Some(vector),
        Err(_) => None,
    }
}

/// Words with all bits below `index` set.
fn ones_below(index: usize) -> [u64; 4] {
    core::array::from_fn(|i| match index.saturating_sub(i * 64) {
        n if n >= 64 => u64::MAX,
        n => (1 << n) - 1,
    })
}

impl FromIterator<Vector> for VectorSet {
    fn from_iter<I: IntoIterator<Item = Vector>>(vectors: I) -> Self {
        let mut set = Self::EMPTY;
        for vector in vectors {
            set.insert(vector);
        }
        set
    }
}

impl fmt::Debug for VectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use proptest::prelude::any;
    use proptest::proptest;

    use super::VectorSet;
    use crate::Vector;

    fn both(words: [u64; 4]) -> (VectorSet, BTreeSet<u8>) {
        let set = VectorSet::from_words(words);
        let model = (16..=255u8).filter(|n| words[usize::from(*n) / 64] >> (n % 64) & 1 == 1).collect();
        (set, model)
    }

    fn numbers(set: &VectorSet) -> Vec<u8> {
        set.iter().map(Vector::number).collect()
    }

    proptest! {
        #[test]
        fn a_set_agrees_with_a_plain_tree_of_numbers(
            a in any::<[u64; 4]>(), b in any::<[u64; 4]>(), bound in 16u8.., index in 0u16..=256
        ) {
            let (x, mx) = both(a);
            let (y, my) = both(b);
            let bound_vector = Vector::new(bound).unwrap();
            assert_eq!(numbers(&x), mx.iter().copied().collect::<Vec<_>>());
            assert!(x.iter().rev().map(Vector::number).eq(mx.iter().rev().copied()));
            assert_eq!(x.iter().size_hint(), (mx.len(), Some(mx.len())));
            assert_eq!(x.len() as usize, mx.len());
            assert_eq!(x.is_empty(), mx.is_empty());
            assert_eq!(x.lowest().map(Vector::number), mx.first().copied());
            assert_eq!(x.highest().map(Vector::number), mx.last().copied());
            assert_eq!(numbers(&x.union(&y)), mx.union(&my).copied().collect::<Vec<_>>());
            assert_eq!(numbers(&x.intersection(&y)), mx.intersection(&my).copied().collect::<Vec<_>>());
            assert_eq!(numbers(&x.difference(&y)), mx.difference(&my).copied().collect::<Vec<_>>());
            let from = mx.iter().copied().find(|number| u16::from(*number) >= index);
            let under = mx.iter().copied().rfind(|number| u16::from(*number) < index);
            assert_eq!(x.lowest_from(index.into()).map(Vector::number), from);
            assert_eq!(x.highest_below(index.into()).map(Vector::number), under);
            assert_eq!(numbers(&x.below(bound_vector)), mx.range(..bound).copied().collect::<Vec<_>>());
            assert_eq!(numbers(&x.above(bound_vector)), mx.iter().copied().filter(|n| *n > bound).collect::<Vec<_>>());
        }
    }

    #[test]
    fn members_taken_from_both_ends_meet_once() {
        let set = VectorSet::from_words([1 << 16 | 1 << 63, 0, 1, 1 << 63]);
        let mut members = set.iter();
        let pairs: [_; 3] = core::array::from_fn(|_| (members.next(), members.next_back()));
        let numbers = pairs.map(|(low, high)| (low.map(Vector::number), high.map(Vector::number)));
        assert_eq!(numbers, [(Some(0x10), Some(0xff)), (Some(0x3f), Some(0x80)), (None, None)]);
    }

    #[test]
    fn every_range_holds_exactly_what_lies_between_its_ends() {
        for first in Vector::all() {
            for last in Vector::all() {
                let expected = u32::from(last.number()).saturating_sub(u32::from(first.number()).wrapping_sub(1));
                let expected = if first.outranks(last) { 0 } else { expected };
                assert_eq!(VectorSet::range(first, last).len(), expected, "{first}..={last}");
            }
        }
    }
}
