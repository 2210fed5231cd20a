//! Ends lotteries: where a move draws a new vector, no choice of vectors lasts, but a source that is kept to the CPUs that
//! hold its vector draws no more.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::CpuSet;
use crate::Pinning;
use crate::Retarget;
use crate::meeting::covers;
use crate::plan::board::Board;
use crate::plan::board::Role;

/// A source kept to fewer CPUs.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) piece: usize,
    pub(super) from: CpuSet,
    pub(super) to: CpuSet,
    pub(super) target: CpuSet,
}

/// Sources that draw alike: equal reach, and whether they keep their vectors within it.
#[derive(Clone, Debug)]
pub(super) struct Drawers {
    pub(super) reachable: CpuSet,
    pub(super) is_settled: bool,
    pub(super) role: Role,
    pub(super) pieces: Vec<usize>,
}

/// How much a pin has to achieve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// It ends every lottery of the source.
    All,
    /// It ends some.
    Some,
}

/// Pins what ends lotteries, as far as the goal allows, and leaves the board so.
pub(super) fn pin(board: &mut Board<'_>) -> Vec<Pin> {
    let mut pins = Vec::new();
    if board.goal.pin == Pinning::Forbidden || !board.goal.mend.include(LOTTERY) {
        return pins;
    }
    if board.goal.pin == Pinning::Anyone {
        pin_guests(board, Worth::All, &mut pins);
        pin_dom0(board, &mut pins);
    }
    pin_guests(board, Worth::Some, &mut pins);
    pins
}

const LOTTERY: crate::InversionKind = crate::InversionKind::Possible(crate::Chance::VectorDrawn);

/// The sources of one side by how they draw.
pub(super) fn drawers(board: &Board<'_>, belongs: impl Fn(Role) -> bool) -> Vec<Drawers> {
    let mut groups: BTreeMap<(Vec<u64>, bool, bool), Drawers> = BTreeMap::new();
    for (index, piece) in board.pieces.iter().enumerate().filter(|(_, piece)| belongs(piece.role)) {
        let reachable = &piece.source.reachable;
        let words = reachable.words();
        let length = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        let is_settled = covers(&piece.source.holders, reachable);
        let key = (words[..length].to_vec(), is_settled, piece.role == Role::Retaining);
        let new = || Drawers { reachable: reachable.clone(), is_settled, role: piece.role, pieces: Vec::new() };
        groups.entry(key).or_insert_with(new).pieces.push(index);
    }
    groups.into_values().collect()
}

impl Drawers {
    /// Whether a move can make one of either side draw a vector where the other is.
    pub(super) fn play(&self, other: &Self) -> bool {
        self.plays_with(&other.reachable, other.is_settled)
    }

    fn plays_with(&self, reachable: &CpuSet, is_settled: bool) -> bool {
        !(self.is_settled && is_settled) && self.reachable.intersects(reachable)
    }
}

/// Pins guests' sources to CPUs that hold their vectors and that no roaming source of dom0's reaches, if there are any.
fn pin_guests(board: &mut Board<'_>, worth: Worth, pins: &mut Vec<Pin>) {
    let dom0 = drawers(board, |role| role == Role::Dom0);
    for group in drawers(board, Role::is_guest) {
        let against: Vec<&Drawers> = dom0.iter().filter(|other| group.play(other)).collect();
        if against.is_empty() {
            continue;
        }
        let roamers = against.iter().filter(|other| !other.is_settled);
        let roamed = roamers.fold(CpuSet::new(), |all, other| all.union(&other.reachable));
        for piece in group.pieces {
            let held = board.pieces[piece].source.reachable.intersection(&board.pieces[piece].source.holders);
            let quiet: CpuSet = held.iter().filter(|cpu| !roamed.contains(*cpu)).collect();
            let left = |to: &CpuSet| against.iter().filter(|other| other.plays_with(to, true)).count();
            let candidates = [quiet, held].into_iter().filter(|to| !to.is_empty() && may_go(board, piece, to));
            let Some(to) = candidates.min_by_key(|to| left(to)) else { continue };
            let is_worth_it = match worth {
                Worth::All => left(&to) == 0,
                Worth::Some => left(&to) < against.len(),
            };
            if is_worth_it {
                pins.extend(do_pin(board, piece, to));
            }
        }
    }
}

/// Pins dom0's roaming sources that still take part in a lottery to the CPUs that hold their vectors.
fn pin_dom0(board: &mut Board<'_>, pins: &mut Vec<Pin>) {
    let guests = drawers(board, Role::is_guest);
    for group in drawers(board, |role| role == Role::Dom0) {
        if group.is_settled || !guests.iter().any(|other| group.play(other)) {
            continue;
        }
        for piece in group.pieces {
            let to = board.pieces[piece].source.reachable.intersection(&board.pieces[piece].source.holders);
            if !to.is_empty() && may_go(board, piece, &to) {
                pins.extend(do_pin(board, piece, to));
            }
        }
    }
}

/// Whether the goal lets the piece be kept to these CPUs.
fn may_go(board: &Board<'_>, piece: usize, to: &CpuSet) -> bool {
    let piece = &board.pieces[piece];
    piece.stays.is_none() && (board.goal.retarget == Retarget::Allowed || to.intersects(&piece.source.target))
}

/// Keeps the piece to `to`, and sends it to a CPU of those if it is not there.
fn do_pin(board: &mut Board<'_>, piece: usize, to: CpuSet) -> Option<Pin> {
    let source = &mut board.pieces[piece].source;
    let kept = source.target.intersection(&to);
    source.target = if kept.is_empty() { to.iter().take(1).collect() } else { kept };
    let from = core::mem::replace(&mut source.reachable, to.clone());
    (from != to).then(|| Pin { piece, from, to, target: source.target.clone() })
}
