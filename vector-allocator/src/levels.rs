//! Places sorted by how many vectors they have left, so that the emptiest of a thousand is found without a scan.

use alloc::boxed::Box;
use alloc::vec;

/// Bits per word.
const WORD: usize = 64;

/// One more than the highest level: a place never has more than 240 vectors left.
pub(crate) const LEVELS: usize = 256;

/// For each level a bitset of the places on it, with a summary of its words and one of the levels.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    levels: Box<[Level; LEVELS]>,
    occupied: [u64; LEVELS / WORD],
}

/// The places on one level. The summary and the words of the first 448 places share a cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Level {
    /// Bit k is set while word k is not empty.
    occupied: u64,
    places: [u64; WORD],
}

impl Levels {
    /// The most places the summary of one level covers.
    pub(crate) const MAX_PLACES: usize = WORD * WORD;

    /// No place on any level.
    pub(crate) fn new() -> Self {
        let levels = vec![Level { occupied: 0, places: [0; WORD] }; LEVELS];
        let levels = levels.into_boxed_slice().try_into().expect("there are as many levels as there are");
        Self { levels, occupied: [0; LEVELS / WORD] }
    }

    /// Moves `place` from the level of `before` to that of `after`.
    #[inline(always)]
    pub(crate) fn shift(&mut self, place: usize, before: u32, after: u32) {
        let (word, bit) = (place / WORD % WORD, 1 << (place % WORD));
        let (from, to) = (level(before), level(after));
        let old = &mut self.levels[from];
        old.places[word] &= !bit;
        // Whether a random place was the last of its word or level no processor foresees: bits are cheaper than branches.
        old.occupied &= !(u64::from(old.places[word] == 0) << word);
        self.occupied[from / WORD] &= !(u64::from(old.occupied == 0) << (from % WORD));
        let new = &mut self.levels[to];
        new.places[word] |= bit;
        new.occupied |= 1 << word;
        self.occupied[to / WORD] |= 1 << (to % WORD);
    }

    /// Puts `place` on the level of `available`.
    pub(crate) fn insert(&mut self, place: usize, available: u32) {
        let (index, word) = (level(available), place / WORD % WORD);
        let level = &mut self.levels[index];
        level.places[word] |= 1 << (place % WORD);
        level.occupied |= 1 << word;
        self.occupied[index / WORD] |= 1 << (index % WORD);
    }

    /// Takes `place` off the level of `available`.
    pub(crate) fn remove(&mut self, place: usize, available: u32) {
        let (index, word) = (level(available), place / WORD % WORD);
        let level = &mut self.levels[index];
        level.places[word] &= !(1 << (place % WORD));
        level.occupied &= !(u64::from(level.places[word] == 0) << word);
        self.occupied[index / WORD] &= !(u64::from(level.occupied == 0) << (index % WORD));
    }

    /// The highest occupied level below `bound`; level 0, whose places have nothing left, does not count.
    #[inline(always)]
    pub(crate) fn below(&self, bound: usize) -> Option<usize> {
        let mut index = bound.div_ceil(WORD);
        while index > 0 {
            index -= 1;
            let under = bound - index * WORD;
            let mask = if under >= WORD { u64::MAX } else { (1 << under) - 1 };
            let word = self.occupied[index] & mask;
            if word != 0 {
                let level = index * WORD + 63 - word.leading_zeros() as usize;
                return (level > 0).then_some(level);
            }
        }
        None
    }

    /// The first place of `mask` on a level for which `pick` has something, and that. Bits that `mask` lacks count as
    /// clear.
    #[inline(always)]
    pub(crate) fn find<T>(&self, level: usize, mask: &[u64], pick: impl Fn(usize) -> Option<T>) -> Option<(usize, T)> {
        let level = &self.levels[level % LEVELS];
        for word in Ascending(level.occupied) {
            let both = level.places[word] & mask.get(word).copied().unwrap_or(0);
            for place in Ascending(both).map(|bit| word * WORD + bit) {
                if let Some(picked) = pick(place) {
                    return Some((place, picked));
                }
            }
        }
        None
    }

    /// Whether `place` is on the level of `available` and on no other, and every summary says what it sums up.
    pub(crate) fn holds_only(&self, place: usize, available: Option<u32>) -> bool {
        let (word, bit) = (place / WORD, place % WORD);
        (0..LEVELS).all(|index| {
            let Level { occupied, places } = &self.levels[index];
            let on = places[word] >> bit & 1 == 1;
            let word_summed = (*occupied >> word & 1 == 1) == (places[word] != 0);
            let level_summed = (self.occupied[index / WORD] >> (index % WORD) & 1 == 1) == (*occupied != 0);
            on == (Some(index) == available.map(level)) && word_summed && level_summed
        })
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
