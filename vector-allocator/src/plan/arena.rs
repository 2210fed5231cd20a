//! The parts of a host that can be planned apart: sources that can never hold a vector on the same CPU do not compete.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::CpuId;
use crate::plan::board::Board;
use crate::plan::board::Role;

/// Sources that compete for the same vectors, as indices into the board.
#[derive(Clone, Debug, Default)]
pub(super) struct Arena {
    pub(super) guests: Vec<usize>,
    pub(super) dom0: Vec<usize>,
    /// Sources in nobody's way that could make room.
    pub(super) bystanders: Vec<usize>,
}

/// Splits the board into arenas: a cluster each, joined where a source is taken on several.
pub(super) fn arenas(board: &Board<'_>) -> Vec<Arena> {
    let mut unions = Unions::default();
    for piece in board.pieces.iter().filter(|piece| piece.role != Role::Bystander) {
        unions.join_all(clusters_of(board, piece));
    }
    let mut by_root: BTreeMap<CpuId, Arena> = BTreeMap::new();
    for (index, piece) in board.pieces.iter().enumerate() {
        let mut roots: Vec<CpuId> = clusters_of(board, piece).map(|cluster| unions.root(cluster)).collect();
        roots.dedup();
        let Some(root) = roots.first().copied() else { continue };
        match piece.role {
            Role::Guest | Role::Retaining => by_root.entry(root).or_default().guests.push(index),
            Role::Dom0 => by_root.entry(root).or_default().dom0.push(index),
            Role::Bystander if roots.len() == 1 => by_root.entry(root).or_default().bystanders.push(index),
            Role::Bystander => {}
        }
    }
    by_root.into_values().filter(|arena| !arena.guests.is_empty() && !arena.dom0.is_empty()).collect()
}

/// The clusters a source touches, each by its first CPU.
fn clusters_of<'a>(board: &'a Board<'_>, piece: &'a super::board::Piece) -> impl Iterator<Item = CpuId> + 'a {
    let cpus = piece.source.holders.iter().chain(piece.source.target.iter()).chain(piece.fresh.iter());
    cpus.map(|cpu| board.host.model.cluster(cpu).0)
}

/// Clusters joined by sources that span them.
#[derive(Default)]
struct Unions {
    parent: BTreeMap<CpuId, CpuId>,
}

impl Unions {
    fn root(&mut self, mut cluster: CpuId) -> CpuId {
        while let Some(parent) = self.parent.get(&cluster).copied() {
            if let Some(grandparent) = self.parent.get(&parent).copied() {
                self.parent.insert(cluster, grandparent);
            }
            cluster = parent;
        }
        cluster
    }

    fn join_all(&mut self, mut clusters: impl Iterator<Item = CpuId>) {
        let Some(first) = clusters.next() else { return };
        for other in clusters {
            let (a, b) = (self.root(first), self.root(other));
            if a != b {
                self.parent.insert(a.max(b), a.min(b));
            }
        }
    }
}
