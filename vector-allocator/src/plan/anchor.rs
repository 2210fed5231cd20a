//! Ends lotteries by a move: where a vector is taken on a whole cluster, a source that holds one on fewer CPUs than it can
//! come to draws only once more. Xen leaves such sources behind at boot, when the boot CPU was the only one online.

use alloc::vec::Vec;

use crate::Vector;
use crate::VectorSet;
use crate::meeting::covers;
use crate::plan::board::Board;
use crate::plan::board::Role;
use crate::plan::board::Shift;
use crate::plan::lottery::Reach;
use crate::plan::pin::LOTTERY;

/// What was done against lotteries.
#[derive(Debug, Default)]
pub(super) struct Anchored {
    /// The moves, in order; the board has them done.
    pub(super) shifts: Vec<Shift>,
    /// How many of them every plan needs that ends the same lotteries, beside its moves for other inversions.
    pub(super) lower_bound: usize,
}

/// Moves every source that a lottery with a settled one depends on to a vector it keeps wherever it can go.
pub(super) fn anchor(board: &mut Board<'_>, start: &Board<'_>) -> Anchored {
    let mut anchored = Anchored::default();
    let mut done = Vec::new();
    if !board.goal.mend.include(LOTTERY) {
        return anchored;
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
    for (shift, undo) in done {
        let is_in_vain = !others(board, shift.piece).any(|other| is_ended(start, board, shift.piece, other));
        if is_in_vain && board.free(&undo.holders).contains(undo.vector) {
            board.shift_logged(&undo);
            continue;
        }
        anchored.lower_bound += usize::from(is_needed(start, shift.piece));
        anchored.shifts.push(shift);
    }
    anchored
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

/// Whether every plan that ends the lotteries of `piece` changes it, and counts it for nothing else: one on the other side
/// can go nowhere that the piece cannot, and the piece is in no other inversion.
fn is_needed(start: &Board<'_>, piece: usize) -> bool {
    let reach = &start.pieces[piece].source.reachable;
    let follows = |other: usize| covers(reach, &start.pieces[other].source.reachable);
    let is_inverted = |other: usize| match start.pieces[piece].role.is_guest() {
        true => start.is_inverted(piece, other),
        false => start.is_inverted(other, piece),
    };
    others(start, piece).any(|other| Reach::of(start, piece).plays(&Reach::of(start, other)) && follows(other))
        && !others(start, piece).any(is_inverted)
}
