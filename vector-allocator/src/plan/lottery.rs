//! Who plays a lottery with whom: pairs of sources of which one can move and draw a new vector where the other is.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::CpuSet;
use crate::meeting::covers;
use crate::plan::Mended;
use crate::plan::Move;
use crate::plan::board::Board;
use crate::plan::board::Role;
use crate::plan::pin::LOTTERY;

/// Where a source can go, and whether it keeps its vector there.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) cpus: CpuSet,
    pub(super) is_settled: bool,
}

/// Sources that draw alike.
#[derive(Clone, Debug)]
pub(super) struct Drawers {
    pub(super) reach: Reach,
    pub(super) role: Role,
    pub(super) pieces: Vec<usize>,
}

/// Sources that drew alike before pinning and draw alike after it.
#[derive(Clone, Debug)]
struct Changed {
    before: Reach,
    after: Reach,
    pieces: Vec<usize>,
}

/// One side of all lotteries before and after pinning.
#[derive(Clone, Debug)]
pub(super) struct Side {
    groups: Vec<Changed>,
}

impl Reach {
    pub(super) fn of(board: &Board<'_>, piece: usize) -> Self {
        let source = &board.pieces[piece].source;
        Self { cpus: source.reachable.clone(), is_settled: covers(&source.holders, &source.reachable) }
    }

    /// Whether a move can make one of either side draw a vector where the other is.
    pub(super) fn plays(&self, other: &Self) -> bool {
        !(self.is_settled && other.is_settled) && self.cpus.intersects(&other.cpus)
    }

    /// The words without trailing zeros, so that equal reaches have equal keys.
    fn key(&self) -> (Vec<u64>, bool) {
        let words = self.cpus.words();
        let length = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        (words[..length].to_vec(), self.is_settled)
    }
}

/// The sources of one side by how they draw.
pub(super) fn drawers(board: &Board<'_>, belongs: impl Fn(Role) -> bool) -> Vec<Drawers> {
    let mut groups: BTreeMap<_, Drawers> = BTreeMap::new();
    for (index, piece) in board.pieces.iter().enumerate().filter(|(_, piece)| belongs(piece.role)) {
        let reach = Reach::of(board, index);
        let key = (reach.key(), piece.role == Role::Retaining);
        let new = || Drawers { reach, role: piece.role, pieces: Vec::new() };
        groups.entry(key).or_insert_with(new).pieces.push(index);
    }
    groups.into_values().collect()
}

impl Side {
    pub(super) fn of(start: &Board<'_>, end: &Board<'_>, belongs: impl Fn(Role) -> bool) -> Self {
        let mut groups: BTreeMap<_, Changed> = BTreeMap::new();
        for (index, _) in start.pieces.iter().enumerate().filter(|(_, piece)| belongs(piece.role)) {
            let (before, after) = (Reach::of(start, index), Reach::of(end, index));
            let key = (before.key(), after.key());
            let new = || Changed { before, after, pieces: Vec::new() };
            groups.entry(key).or_insert_with(new).pieces.push(index);
        }
        Self { groups: groups.into_values().collect() }
    }

    /// The lotteries with this side that a source of the other side left by going from one reach to another: the first
    /// [`Move::LISTED`], and how many more.
    pub(super) fn left_by(&self, board: &Board<'_>, before: &Reach, after: &Reach) -> (Vec<Mended>, usize) {
        let ended = self.groups.iter().filter(|group| before.plays(&group.before) && !after.plays(&group.after));
        let mut against = ended.flat_map(|group| &group.pieces);
        let listed = against.by_ref().take(Move::LISTED);
        let mended = listed.map(|piece| Mended { kind: LOTTERY, against: board.pieces[*piece].source.id }).collect();
        (mended, against.count())
    }
}
