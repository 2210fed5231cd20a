//! Physical CPUs and sets of them.

use core::fmt;

use bitvec::order::Lsb0;
use bitvec::vec::BitVec;

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
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of physical CPUs; it grows with its largest member.
#[derive(Clone, Default)]
pub struct CpuSet(BitVec<u64, Lsb0>);

impl CpuSet {
    /// The set without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// CPUs 0 to `count` − 1.
    #[must_use]
    pub fn first_n(count: u32) -> Self {
        // Not `BitVec::repeat`: it sets the bits past the end as well, and `words` shows them.
        let mut bits = BitVec::repeat(false, count as usize);
        bits.fill(true);
        Self(bits)
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
        Self(BitVec::from_slice(words))
    }

    /// Whether `cpu` is a member.
    #[must_use]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.0.get(cpu.index()).is_some_and(|bit| *bit)
    }

    /// Adds `cpu`; whether it was new.
    pub fn insert(&mut self, cpu: CpuId) -> bool {
        if self.0.len() <= cpu.index() {
            self.0.resize(cpu.index() + 1, false);
        }
        !self.0.replace(cpu.index(), true)
    }

    /// Removes `cpu`; whether it was a member.
    pub fn remove(&mut self, cpu: CpuId) -> bool {
        cpu.index() < self.0.len() && self.0.replace(cpu.index(), false)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.count_ones()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.not_any()
    }

    /// The member with the lowest number.
    #[must_use]
    pub fn first(&self) -> Option<CpuId> {
        self.iter().next()
    }

    /// Members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        #[expect(clippy::cast_possible_truncation, reason = "members came in as u32")]
        self.0.iter_ones().map(|index| CpuId(index as u32))
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

    /// The bits as words, CPU 0 in bit 0 of the first; bits past the last member are clear.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        self.0.as_raw_slice()
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
        fn a_set_agrees_with_a_plain_tree_of_numbers(a in btree_set(0u32..300, 0..20), b in btree_set(0u32..300, 0..20)) {
            let (x, y) = (set(&a), set(&b));
            assert_eq!(x.len(), a.len());
            assert_eq!(x.union(&y), set(&a.union(&b).copied().collect()));
            assert_eq!(x.intersection(&y), set(&a.intersection(&b).copied().collect()));
            assert_eq!(x.intersects(&y), !a.is_disjoint(&b));
            assert_eq!(x.is_subset(&y), a.is_subset(&b));
            assert_eq!(x.first().map(|cpu| cpu.0), a.first().copied());
        }
    }

    #[test]
    fn bits_past_the_last_member_are_clear_however_a_set_is_made() {
        assert_eq!(CpuSet::first_n(4).words(), [0xf]);
        let mut grown = CpuSet::first_n(2);
        grown.insert(CpuId(65));
        assert_eq!(grown.words(), [0b11, 0b10]);
        assert!(!CpuSet::first_n(2).intersects(&CpuSet::single(CpuId(2))));
        assert_eq!(CpuSet::from_words(&[0b101, 1]), [0, 2, 64].into_iter().map(CpuId).collect());
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
