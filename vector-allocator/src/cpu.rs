//! Physical CPUs and sets of them.

use core::fmt;

use alloc::vec;
use alloc::vec::Vec;

use crate::levels::Ascending;

/// A physical CPU, numbered as the hypervisor numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u32);

impl CpuId {
    /// The CPU the machine booted on; it alone takes legacy interrupts.
    pub const BOOT: Self = Self(0);

    /// The number as an index into a per-CPU table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Where it is in a bitmap: the word's index, and the word with its bit alone.
    const fn bit(self) -> (usize, u64) {
        (self.index() / 64, 1 << (self.index() % 64))
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of physical CPUs; it grows with its largest member.
///
/// The words are kept as they are read: every lease compares them with those of the CPUs there are, and decoding a
/// bit vector's pointer first took as long as the comparison.
#[derive(Clone, Default)]
pub struct CpuSet(Vec<u64>);

impl CpuSet {
    /// The set without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// CPUs 0 to `count` − 1.
    #[must_use]
    pub fn first_n(count: u32) -> Self {
        let mut words = vec![u64::MAX; count.div_ceil(u64::BITS) as usize];
        if let Some(last) = words.last_mut() {
            *last >>= (u64::BITS - count % u64::BITS) % u64::BITS;
        }
        Self(words)
    }

    /// The set with one member.
    #[must_use]
    pub fn single(cpu: CpuId) -> Self {
        let mut set = Self::new();
        set.insert(cpu);
        set
    }

    /// The set with the given bits, CPU 0 in bit 0 of the first word.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Self {
        Self(words.to_vec())
    }

    /// Whether `cpu` is a member.
    #[must_use]
    pub fn contains(&self, cpu: CpuId) -> bool {
        let (word, bit) = cpu.bit();
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Adds `cpu`; whether it was new.
    pub fn insert(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = cpu.bit();
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Removes `cpu`; whether it was a member.
    pub fn remove(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = cpu.bit();
        let Some(word) = self.0.get_mut(word) else { return false };
        let was = *word & bit != 0;
        *word &= !bit;
        was
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The member with the lowest number.
    #[must_use]
    pub fn first(&self) -> Option<CpuId> {
        self.iter().next()
    }

    /// Members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        #[expect(clippy::cast_possible_truncation, reason = "members came in as u32")]
        (0u32..)
            .zip(&self.0)
            .flat_map(|(index, word)| Ascending(*word).map(move |bit| CpuId(index * u64::BITS + bit as u32)))
    }

    /// Members of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.iter().filter(|cpu| other.contains(*cpu)).collect()
    }

    /// Members of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// Whether the sets have a member in common.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.words().iter().zip(other.words()).any(|(a, b)| a & b != 0)
    }

    /// Whether every member is also in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|cpu| other.contains(cpu))
    }

    /// The members from `first` on, 64 of them: bit k is the k-th CPU after it.
    #[inline]
    pub(crate) fn window(&self, first: CpuId) -> u64 {
        let (word, shift) = (first.index() / 64, first.0 % 64);
        let at = |index: usize| self.0.get(index).copied().unwrap_or(0);
        let high = if shift == 0 { 0 } else { at(word + 1) << (64 - shift) };
        at(word) >> shift | high
    }

    /// The bits as words, CPU 0 in bit 0 of the first; bits past the last member are clear.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }
}

impl FromIterator<CpuId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut set = Self::new();
        for cpu in cpus {
            set.insert(cpu);
        }
        set
    }
}

impl PartialEq for CpuSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for CpuSet {}

/// As Xen prints masks: `{0-3,6}`.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        let mut rest = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| next.0 == last.0 + 1) {
                last = next;
            }
            match last == first {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    use proptest::collection::btree_set;
    use proptest::proptest;

    use super::CpuId;
    use super::CpuSet;

    fn set(numbers: &BTreeSet<u32>) -> CpuSet {
        numbers.iter().copied().map(CpuId).collect()
    }

    proptest! {
        #[test]
        fn a_set_agrees_with_a_plain_tree_of_numbers(
            a in btree_set(0u32..300, 0..20), b in btree_set(0u32..300, 0..20), first in 0u32..400
        ) {
            let (x, y) = (set(&a), set(&b));
            assert_eq!(x.len(), a.len());
            assert_eq!(x.is_empty(), a.is_empty());
            assert_eq!(x.iter().map(|cpu| cpu.0).collect::<BTreeSet<u32>>(), a);
            let window = a.range(first..first + 64).fold(0, |window, number| window | 1u64 << (number - first));
            assert_eq!(x.window(CpuId(first)), window);
            let mut rest = x.clone();
            for number in &b {
                assert_eq!(rest.contains(CpuId(*number)), a.contains(number));
                assert_eq!(rest.remove(CpuId(*number)), a.contains(number));
            }
            assert_eq!(rest, set(&a.difference(&b).copied().collect()));
            assert_eq!(x.union(&y), set(&a.union(&b).copied().collect()));
            assert_eq!(x.intersection(&y), set(&a.intersection(&b).copied().collect()));
            assert_eq!(x.intersects(&y), !a.is_disjoint(&b));
            assert_eq!(x.is_subset(&y), a.is_subset(&b));
            assert_eq!(x.first().map(|cpu| cpu.0), a.first().copied());
        }
    }

    #[test]
    fn words_hold_no_bit_past_the_last_member() {
        assert_eq!(CpuSet::first_n(0).words(), [0; 0]);
        assert_eq!(CpuSet::first_n(4).words(), [0b1111]);
        assert_eq!(CpuSet::first_n(64).words(), [u64::MAX]);
        assert_eq!(CpuSet::first_n(65).clone().words(), [u64::MAX, 1]);
    }

    #[test]
    fn sets_compare_by_members_and_print_as_xen_does() {
        let mut set = CpuSet::first_n(4);
        set.insert(CpuId(200));
        set.remove(CpuId(200));
        assert_eq!(set, CpuSet::first_n(4));
        set.insert(CpuId(6));
        assert_eq!(set.to_string(), "{0-3,6}");
        assert_eq!(CpuSet::new().to_string(), "{}");
    }
}
