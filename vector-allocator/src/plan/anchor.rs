//! Ends lotteries by a move: where a vector is taken on a whole cluster, a source that holds one on fewer CPUs than it can
//! come to draws only once more. Xen leaves such sources behind at boot, when the boot CPU was the only one online.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::Vector;
use crate::VectorSet;
use crate::meeting::covers;
use crate::plan::board::Board;
use crate::plan::board::Role;
use crate::plan::board::Shift;
use crate::plan::lottery::Reach;
use crate::plan::pin::LOTTERY;

/// Moves every source that a lottery with a settled one depends on to a vector it keeps wherever it can go. The moves, in
/// order; the board has them done.
pub(super) fn anchor(board: &mut Board<'_>, start: &Board<'_>) -> Vec<Shift> {
    let mut done = Vec::new();
    if !board.goal.mend.include(LOTTERY) {
        return Vec::new();
    }
    // A guest that is anchored settles what dom0's sources meet, and the other way round: guests first, then dom0's.
    let all = || 0..start.pieces.len();
    let of = |is: fn(Role) -> bool| all().filter(move |piece| is(start.pieces[*piece].role));
    for piece in of(Role::is_guest).chain(of(|role| role == Role::Dom0)) {
        if !may_be_anchored(board, piece) || !others(board, piece).any(|other| ends_with(board, piece, other)) {
            continue;
        }
        let Some(vector) = vector_for(board, piece) else { continue };
        let before = board.harm_of(piece, all());
        let shift = board.to_vector(piece, vector);
        let undo = board.shift_logged(&shift);
        if board.harm_of(piece, all()) > before {
            board.shift_logged(&undo);
            continue;
        }
        done.push((shift, undo));
    }
    let mut shifts = Vec::new();
    for (shift, undo) in done {
        let is_in_vain = !others(board, shift.piece).any(|other| is_ended(start, board, shift.piece, other));
        if is_in_vain && board.free(&undo.holders).contains(undo.vector) {
            board.shift_logged(&undo);
            continue;
        }
        shifts.push(shift);
    }
    shifts
}

/// The pieces that every plan changes that ends their lotteries, whatever else it does: such a piece draws, and one on the
/// other side can go nowhere that it cannot.
pub(super) fn needed(start: &Board<'_>) -> BTreeSet<usize> {
    let is_needed = |piece: usize| {
        let reach = Reach::of(start, piece);
        let follows = |other: usize| covers(&reach.cpus, &start.pieces[other].source.reachable);
        others(start, piece).any(|other| follows(other) && reach.plays(&Reach::of(start, other)))
    };
    let has_part = |piece: &usize| start.pieces[*piece].role != Role::Bystander;
    let all = (0..start.pieces.len()).filter(has_part);
    all.filter(|piece| may_be_anchored(start, *piece) && is_needed(*piece)).collect()
}

/// How many of the `needed` pieces a plan has settled.
pub(super) fn settled(needed: &BTreeSet<usize>, end: &Board<'_>) -> usize {
    needed.iter().filter(|piece| Reach::of(end, **piece).is_settled).count()
}

/// Whether two pieces played a lottery at the start and do not any more.
fn is_ended(start: &Board<'_>, end: &Board<'_>, piece: usize, other: usize) -> bool {
    let plays = |board: &Board<'_>| Reach::of(board, piece).plays(&Reach::of(board, other));
    plays(start) && !plays(end)
}

/// Whether a new vector would be taken wherever the piece can go, as its present one is not.
fn may_be_anchored(board: &Board<'_>, piece: usize) -> bool {
    let entry = &board.pieces[piece];
    entry.stays.is_none() && !Reach::of(board, piece).is_settled && covers(&entry.fresh, &entry.source.reachable)
}

/// The pieces on the other side.
fn others<'a>(board: &'a Board<'_>, piece: usize) -> impl Iterator<Item = usize> + 'a {
    let is_guest = board.pieces[piece].role.is_guest();
    (0..board.pieces.len()).filter(move |other| match board.pieces[*other].role {
        Role::Dom0 => is_guest,
        Role::Guest | Role::Retaining => !is_guest,
        Role::Bystander => false,
    })
}

/// Whether the lottery of two pieces is over once `piece` is anchored: `other` is settled, or can be anchored too.
fn ends_with(board: &Board<'_>, piece: usize, other: usize) -> bool {
    let other_reach = Reach::of(board, other);
    Reach::of(board, piece).plays(&other_reach) && (other_reach.is_settled || may_be_anchored(board, other))
}

/// The vector for an anchored piece that is on the right side of all it will meet: dom0's highest, a guest's lowest.
fn vector_for(board: &Board<'_>, piece: usize) -> Option<Vector> {
    let entry = &board.pieces[piece];
    let free = board.free(&entry.fresh);
    let holders = |other: usize| &board.pieces[other].source.holders;
    let vector = |other: usize| board.pieces[other].source.vector;
    let right_side = |bound: VectorSet, other: usize| -> VectorSet {
        if entry.role.is_guest() {
            let demand = board.demand((piece, &entry.fresh), (other, holders(other)));
            demand.ceiling(vector(other)).map_or(bound, |ceiling| bound.below(ceiling))
        } else {
            let demand = board.demand((other, holders(other)), (piece, &entry.fresh));
            demand.floor(vector(other)).map_or(bound, |floor| bound.above(floor))
        }
    };
    let allowed = others(board, piece).fold(free, right_side);
    if entry.role.is_guest() { allowed.lowest() } else { allowed.highest() }
}
