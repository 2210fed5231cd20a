//! An order in which movers can go to their places: a vector can be taken only when the mover that held it is gone, and
//! movers that wait for each other in a circle need a spare vector to break it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::Vector;
use crate::VectorSet;
use crate::plan::board::Board;
use crate::plan::board::Shift;
use crate::plan::place::Placement;

/// Carries a placement out on the board, one move after the other. Returns the moves and, for each, what undoes it.
///
/// `acceptable` are the vectors a mover may have instead of the one placed: where all wait for each other, one of them
/// takes such a vector if it is free. Nobody else was to have it, or he would not be waiting.
///
/// # Errors
/// A mover of a circle for which there is no spare vector; the board is as it was.
pub(super) fn sequence(
    board: &mut Board<'_>,
    mut waiting: Placement,
    acceptable: impl Fn(&Board<'_>, usize) -> VectorSet,
) -> Result<(Vec<Shift>, Vec<Shift>), usize> {
    let mut done = Vec::with_capacity(waiting.len());
    let mut undo = Vec::with_capacity(waiting.len());
    let mut parked = BTreeSet::new();
    while let Some((first, _)) = waiting.first().copied() {
        let ready =
            waiting.iter().position(|(piece, vector)| board.free(&board.pieces[*piece].fresh).contains(*vector));
        let shift = match ready {
            Some(ready) => {
                let (piece, vector) = waiting.remove(ready);
                board.to_vector(piece, vector)
            }
            None if let Some((settling, vector)) = instead(board, &waiting, &acceptable) => {
                let (piece, _) = waiting.remove(settling);
                board.to_vector(piece, vector)
            }
            None => {
                let Some(shift) = park(board, &waiting, &mut parked) else {
                    while let Some(step) = undo.pop() {
                        board.shift_logged(&step);
                    }
                    return Err(first);
                };
                shift
            }
        };
        undo.push(board.shift_logged(&shift));
        done.push(shift);
    }
    Ok((done, undo))
}

/// A waiting piece, by its place in the line, with a free vector that will do for good.
fn instead(
    board: &Board<'_>,
    waiting: &Placement,
    acceptable: impl Fn(&Board<'_>, usize) -> VectorSet,
) -> Option<(usize, Vector)> {
    waiting.iter().enumerate().find_map(|(at, (piece, _))| {
        let free = board.free(&board.pieces[*piece].fresh);
        acceptable(board, *piece).intersection(&free).lowest().map(|vector| (at, vector))
    })
}

/// Moves one waiting piece to a spare vector, each piece once at most.
fn park(board: &Board<'_>, waiting: &Placement, parked: &mut BTreeSet<usize>) -> Option<Shift> {
    let spare = |piece: usize| board.free(&board.pieces[piece].fresh).lowest();
    let (piece, vector) = waiting
        .iter()
        .filter(|(piece, _)| !parked.contains(piece))
        .find_map(|(piece, _)| spare(*piece).map(|vector| (*piece, vector)))?;
    parked.insert(piece);
    Some(board.to_vector(piece, vector))
}
