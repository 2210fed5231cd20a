//! The fewest sources that touch every inversion: a minimum vertex cover of a bipartite graph, by König's theorem as large
//! as a maximum matching.

use alloc::collections::BTreeSet;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// Inversions as a graph: which of dom0's sources (right) each guest's source (left) is inverted with.
#[derive(Clone, Debug, Default)]
pub(super) struct Conflicts {
    pub(super) edges: Vec<Vec<usize>>,
    pub(super) rights: usize,
}

/// The members of a minimum vertex cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cover {
    pub(super) lefts: BTreeSet<usize>,
    pub(super) rights: BTreeSet<usize>,
}

impl Conflicts {
    /// A minimum vertex cover; among those of equal size one with as many lefts as can be, so that guests are moved
    /// rather than dom0.
    pub(super) fn cover(&self) -> Cover {
        let matching = self.matching();
        // Alternating paths from the unmatched lefts: the rights they reach are needed, the lefts they reach are not.
        let mut reached_left: Vec<bool> = matching.chosen.iter().map(Option::is_none).collect();
        let mut reached_right = vec![false; self.rights];
        let mut queue: VecDeque<usize> = (0..self.edges.len()).filter(|left| reached_left[*left]).collect();
        while let Some(left) = queue.pop_front() {
            for right in &self.edges[left] {
                if core::mem::replace(&mut reached_right[*right], true) {
                    continue;
                }
                if let Some(next) = matching.partner[*right]
                    && !core::mem::replace(&mut reached_left[next], true)
                {
                    queue.push_back(next);
                }
            }
        }
        Cover {
            lefts: (0..self.edges.len()).filter(|left| !reached_left[*left]).collect(),
            rights: (0..self.rights).filter(|right| reached_right[*right]).collect(),
        }
    }

    /// The size of a maximum matching: as many sources at least must move to end all these inversions.
    pub(super) fn lower_bound(&self) -> usize {
        self.matching().chosen.iter().flatten().count()
    }

    fn matching(&self) -> Matching {
        let mut matching = Matching::new(self.edges.len(), self.rights);
        for left in 0..self.edges.len() {
            matching.augment(&self.edges, left);
        }
        matching
    }
}

/// Lefts and rights in pairs.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    /// The left of each right.
    pub(super) partner: Vec<Option<usize>>,
    /// The right of each left.
    pub(super) chosen: Vec<Option<usize>>,
}

impl Matching {
    pub(super) fn new(lefts: usize, rights: usize) -> Self {
        Self { partner: vec![None; rights], chosen: vec![None; lefts] }
    }

    /// Finds a right for `start`, moving lefts that hold one to others where it must (Kuhn's algorithm, breadth first).
    /// Edges are tried in order, so the first of a left's is its preference. Whether there was one.
    pub(super) fn augment(&mut self, edges: &[Vec<usize>], start: usize) -> bool {
        let mut reached_from = vec![None; self.partner.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(left) = queue.pop_front() {
            for right in &edges[left] {
                if reached_from[*right].is_some() {
                    continue;
                }
                reached_from[*right] = Some(left);
                match self.partner[*right] {
                    Some(holder) => queue.push_back(holder),
                    None => {
                        self.flip(*right, &reached_from);
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Pairs every left on the path that ends at `end` with the right it reached.
    fn flip(&mut self, end: usize, reached_from: &[Option<usize>]) {
        let mut right = Some(end);
        while let Some(current) = right {
            let Some(left) = reached_from[current] else { return };
            self.partner[current] = Some(left);
            right = self.chosen[left].replace(current);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use proptest::collection::btree_set;
    use proptest::proptest;

    use super::Conflicts;

    /// The least number of vertices that touch every edge, by trying all subsets of the 10.
    fn smallest_by_trial(edges: &BTreeSet<(usize, usize)>) -> usize {
        let covers = |chosen: u32| edges.iter().all(|(l, r)| chosen >> l & 1 == 1 || chosen >> (5 + r) & 1 == 1);
        (0..1u32 << 10).filter(|chosen| covers(*chosen)).map(|chosen| chosen.count_ones() as usize).min().unwrap()
    }

    proptest! {
        #[test]
        fn the_cover_touches_every_edge_and_none_is_smaller(pairs in btree_set((0usize..5, 0usize..5), 0..25)) {
            let edges: Vec<Vec<usize>> =
                (0..5).map(|left| pairs.iter().filter(|(l, _)| *l == left).map(|(_, r)| *r).collect()).collect();
            let conflicts = Conflicts { edges, rights: 5 };
            let cover = conflicts.cover();
            assert!(pairs.iter().all(|(l, r)| cover.lefts.contains(l) || cover.rights.contains(r)));
            assert_eq!(cover.lefts.len() + cover.rights.len(), smallest_by_trial(&pairs));
            assert_eq!(conflicts.lower_bound(), smallest_by_trial(&pairs));
        }
    }

    #[test]
    fn between_equal_covers_the_guests_side_is_taken() {
        let cover = Conflicts { edges: [[0].into(), [1].into()].into(), rights: 2 }.cover();
        assert_eq!(cover.lefts, BTreeSet::from([0, 1]));
    }
}
