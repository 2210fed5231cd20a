//! Places sorted by how many vectors they have left, so that the emptiest of a thousand is found without a scan.

use alloc::vec;
use alloc::vec::Vec;

/// Bits per word.
const WORD: usize = 64;

/// One more than the highest level: a place never has more than 240 vectors left.
pub(crate) const LEVELS: usize = 256;

/// For each level a bitset of the places on it, with a summary of its words and one of the levels.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    words_per_level: usize,
    places: Vec<u64>,
    occupied_words: [u64; LEVELS],
    occupied_levels: [u64; LEVELS / WORD],
}

impl Levels {
    /// The most places the summary of one level covers.
    pub(crate) const MAX_PLACES: usize = WORD * WORD;

    /// No place on any level; room for `places` of them, at most [`MAX_PLACES`](Self::MAX_PLACES).
    pub(crate) fn new(places: usize) -> Self {
        let words_per_level = places.div_ceil(WORD);
        Self {
            words_per_level,
            places: vec![0; words_per_level * LEVELS],
            occupied_words: [0; LEVELS],
            occupied_levels: [0; LEVELS / WORD],
        }
    }

    /// Moves `place` from the level of `before` to that of `after`.
    #[inline]
    pub(crate) fn shift(&mut self, place: usize, before: u32, after: u32) {
        self.remove(place, before);
        self.insert(place, after);
    }

    /// Puts `place` on the level of `available`.
    #[inline]
    pub(crate) fn insert(&mut self, place: usize, available: u32) {
        let level = level(available);
        self.places[level * self.words_per_level + place / WORD] |= 1 << (place % WORD);
        self.occupied_words[level] |= 1 << (place / WORD);
        self.occupied_levels[level / WORD] |= 1 << (level % WORD);
    }

    /// Takes `place` off the level of `available`.
    #[inline]
    pub(crate) fn remove(&mut self, place: usize, available: u32) {
        let level = level(available);
        let word = &mut self.places[level * self.words_per_level + place / WORD];
        *word &= !(1 << (place % WORD));
        if *word == 0 {
            self.occupied_words[level] &= !(1 << (place / WORD));
            if self.occupied_words[level] == 0 {
                self.occupied_levels[level / WORD] &= !(1 << (level % WORD));
            }
        }
    }

    /// The highest occupied level below `bound`; level 0, whose places have nothing left, does not count.
    #[inline]
    pub(crate) fn below(&self, bound: usize) -> Option<usize> {
        let mut index = bound.div_ceil(WORD);
        while index > 0 {
            index -= 1;
            let under = bound - index * WORD;
            let mask = if under >= WORD { u64::MAX } else { (1 << under) - 1 };
            let word = self.occupied_levels[index] & mask;
            if word != 0 {
                let level = index * WORD + 63 - word.leading_zeros() as usize;
                return (level > 0).then_some(level);
            }
        }
        None
    }

    /// The first place of `mask` on a level that `suits`. Bits that `mask` lacks count as clear.
    #[inline]
    pub(crate) fn find(&self, level: usize, mask: &[u64], suits: impl Fn(usize) -> bool) -> Option<usize> {
        let places = &self.places[level * self.words_per_level..][..self.words_per_level];
        let mut occupied = self.occupied_words[level];
        while occupied != 0 {
            let word = occupied.trailing_zeros() as usize;
            occupied &= occupied - 1;
            let both = places.get(word).copied().unwrap_or(0) & mask.get(word).copied().unwrap_or(0);
            if let Some(bit) = Ascending(both).find(|bit| suits(word * WORD + bit)) {
                return Some(word * WORD + bit);
            }
        }
        None
    }

    /// Whether `place` is on the level of `available` and on no other.
    pub(crate) fn holds_only(&self, place: usize, available: Option<u32>) -> bool {
        let on = |at: usize| self.places[at * self.words_per_level + place / WORD] >> (place % WORD) & 1 == 1;
        (0..LEVELS).all(|at| on(at) == (Some(at) == available.map(level)))
    }
}

fn level(available: u32) -> usize {
    (available as usize).min(LEVELS - 1)
}

/// Set bits of a word, the lowest first.
pub(crate) struct Ascending(pub(crate) u64);

impl Iterator for Ascending {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        (self.0 != 0).then(|| {
            let bit = self.0.trailing_zeros() as usize;
            self.0 &= self.0 - 1;
            bit
        })
    }
}
