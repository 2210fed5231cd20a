//! Ends lotteries: where a move draws a new vector, no choice of vectors lasts, but a source that is kept to the CPUs that
//! hold its vector draws no more.

use alloc::vec::Vec;

use crate::Chance;
use crate::CpuSet;
use crate::InversionKind;
use crate::Pinning;
use crate::Retarget;
use crate::plan::Constraint;
use crate::plan::Mended;
use crate::plan::board::Board;
use crate::plan::board::Harm;
use crate::plan::board::Role;
use crate::plan::lottery::Drawers;
use crate::plan::lottery::Reach;
use crate::plan::lottery::Side;
use crate::plan::lottery::drawers;

/// What no vector mends.
pub(super) const LOTTERY: InversionKind = InversionKind::Possible(Chance::VectorDrawn);

/// A source kept to fewer CPUs.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) piece: usize,
    pub(super) from: CpuSet,
    pub(super) to: CpuSet,
    pub(super) target: CpuSet,
    /// The lotteries it ends, as far as listed.
    pub(super) mends: Vec<Mended>,
    /// How many more.
    pub(super) more: usize,
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
    let start = board.clone();
    if board.goal.pin == Pinning::Anyone {
        pin_guests(board, Worth::All, &mut pins);
        pin_dom0(board, &mut pins);
    }
    pin_guests(board, Worth::Some, &mut pins);

    let guests = Side::of(&start, board, Role::is_guest);
    let dom0 = Side::of(&start, board, |role| role == Role::Dom0);
    for pin in &mut pins {
        let others = if board.pieces[pin.piece].role.is_guest() { &dom0 } else { &guests };
        let (before, after) = (Reach::of(&start, pin.piece), Reach::of(board, pin.piece));
        (pin.mends, pin.more) = others.left_by(&start, &before, &after);
        if pin.mends.is_empty() {
            // The other side could not be pinned, so this did not help.
            board.pieces[pin.piece].source.clone_from(&start.pieces[pin.piece].source);
        }
    }
    pins.retain(|pin| !pin.mends.is_empty());
    pins
}

/// Pins guests' sources to CPUs that hold their vectors and that no roaming source of dom0's reaches, if there are any.
fn pin_guests(board: &mut Board<'_>, worth: Worth, pins: &mut Vec<Pin>) {
    let dom0 = drawers(board, |role| role == Role::Dom0);
    for group in drawers(board, Role::is_guest) {
        let against: Vec<&Drawers> = dom0.iter().filter(|other| group.reach.plays(&other.reach)).collect();
        if against.is_empty() {
            continue;
        }
        let roamers = against.iter().filter(|other| !other.reach.is_settled);
        let roamed = roamers.fold(CpuSet::new(), |all, other| all.union(&other.reach.cpus));
        for piece in group.pieces {
            let held = board.pieces[piece].source.reachable.intersection(&board.pieces[piece].source.holders);
            let quiet: CpuSet = held.iter().filter(|cpu| !roamed.contains(*cpu)).collect();
            let left = |to: &CpuSet| {
                let pinned = Reach { cpus: to.clone(), is_settled: true };
                against.iter().filter(|other| pinned.plays(&other.reach)).count()
            };
            let candidates: Vec<CpuSet> =
                [held, quiet].into_iter().filter(|to| !to.is_empty() && may_keep_to(board, piece, to)).collect();
            let Some(to) = candidates.into_iter().min_by_key(left) else { continue };
            let is_worth_it = match worth {
                Worth::All => left(&to) == 0,
                Worth::Some => left(&to) < against.len(),
            };
            if is_worth_it {
                pins.extend(keep_to(board, piece, to));
            }
        }
    }
}

/// Pins dom0's roaming sources that still take part in a lottery to the CPUs that hold their vectors.
fn pin_dom0(board: &mut Board<'_>, pins: &mut Vec<Pin>) {
    let guests = drawers(board, Role::is_guest);
    for group in drawers(board, |role| role == Role::Dom0) {
        if group.reach.is_settled || !guests.iter().any(|other| group.reach.plays(&other.reach)) {
            continue;
        }
        for piece in group.pieces {
            let to = board.pieces[piece].source.reachable.intersection(&board.pieces[piece].source.holders);
            if !to.is_empty() && may_keep_to(board, piece, &to) {
                pins.extend(keep_to(board, piece, to));
            }
        }
    }
}

/// Whether the piece may be kept to these CPUs: without being sent elsewhere, or if the goal allows that and it does not
/// meet worse there than where it is. A source that the goal does not let move may be kept to where it is: whom to pin is
/// another question.
fn may_keep_to(board: &mut Board<'_>, piece: usize, to: &CpuSet) -> bool {
    let stays = &board.pieces[piece].stays;
    if matches!(stays, Some(Constraint::Fixed { .. })) {
        return false;
    }
    let may_be_sent = stays.is_none() && board.goal.retarget == Retarget::Allowed;
    if to.intersects(&board.pieces[piece].source.target) {
        return true;
    }
    if !may_be_sent {
        return false;
    }
    let harm = |board: &Board<'_>| -> Harm { board.harm_of(piece, 0..board.pieces.len()) };
    let here = harm(board);
    let source = board.pieces[piece].source.clone();
    keep_to(board, piece, to.clone());
    let there = harm(board);
    board.pieces[piece].source = source;
    there <= here
}

/// Keeps the piece to `to`, and sends it to a CPU of those if it is not there.
fn keep_to(board: &mut Board<'_>, piece: usize, to: CpuSet) -> Option<Pin> {
    let source = &mut board.pieces[piece].source;
    let kept = source.target.intersection(&to);
    source.target = if kept.is_empty() { to.iter().take(1).collect() } else { kept };
    let from = core::mem::replace(&mut source.reachable, to.clone());
    let target = source.target.clone();
    (from != to).then(|| Pin { piece, from, to, target, mends: Vec::new(), more: 0 })
}
