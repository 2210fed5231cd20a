//! Sources grouped by the CPUs they can be on, so that only those that can meet are compared.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::AssignedSource;
use crate::CpuSet;

/// The sources of one side, those with equal masks in one group.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    groups: Vec<Group>,
}

/// Sources that target and reach the same CPUs.
#[derive(Debug)]
struct Group {
    cpus: CpuSet,
    members: Vec<usize>,
}

impl Crowd {
    /// Those of `sources` that `belongs` accepts, by index.
    pub(crate) fn of(sources: &[AssignedSource], belongs: impl Fn(&AssignedSource) -> bool) -> Self {
        let mut by_cpus: BTreeMap<Vec<u64>, Vec<usize>> = BTreeMap::new();
        for (index, source) in sources.iter().enumerate().filter(|(_, source)| belongs(source)) {
            by_cpus.entry(open_to(source)).or_default().push(index);
        }
        let group = |(_, members): (Vec<u64>, Vec<usize>)| {
            let first = &sources[members[0]];
            Group { cpus: first.target.union(&first.reachable), members }
        };
        Self { groups: by_cpus.into_iter().map(group).collect() }
    }

    /// The groups whose CPUs overlap those of `source`, by number.
    pub(crate) fn groups_meeting(&self, source: &AssignedSource) -> Vec<usize> {
        let meets = |group: &Group| group.cpus.intersects(&source.target) || group.cpus.intersects(&source.reachable);
        (0..self.groups.len()).filter(|number| meets(&self.groups[*number])).collect()
    }

    /// The sources of a group, by index.
    pub(crate) fn members(&self, group: usize) -> &[usize] {
        &self.groups[group].members
    }
}

/// The words of the CPUs a source can be on, without trailing zeros so that equal sets have equal words.
fn open_to(source: &AssignedSource) -> Vec<u64> {
    let (target, reachable) = (source.target.words(), source.reachable.words());
    let word = |index: usize| target.get(index).unwrap_or(&0) | reachable.get(index).unwrap_or(&0);
    let mut words: Vec<u64> = (0..target.len().max(reachable.len())).map(word).collect();
    words.truncate(words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
    words
}
