//! The second try for pairs that no common placement mends: one source at a time, to a lower or higher vector where it
//! is, or to another CPU it can reach.

use alloc::vec::Vec;

use crate::CpuSet;
use crate::DestinationModel;
use crate::Retarget;
use crate::Vector;
use crate::plan::arena::Arena;
use crate::plan::board::Board;
use crate::plan::board::Harm;
use crate::plan::board::Shift;

/// Moves single sources as long as each move lessens the harm.
pub(super) fn rescue(board: &mut Board<'_>, arena: &Arena, shifts: &mut Vec<Shift>, undo: &mut Vec<Shift>) {
    let pieces: Vec<usize> = arena.guests.iter().chain(&arena.dom0).copied().collect();
    // Every move lessens the harm, but each piece gets one at most, so that the work is bounded by the arena's size.
    for piece in pieces {
        if board.pieces[piece].stays.is_some() || harm_inside(board, arena, piece) == Harm::default() {
            continue;
        }
        if let Some(shift) = better_place(board, arena, piece) {
            undo.push(board.shift_logged(&shift));
            shifts.push(shift);
        }
    }
}

/// The harm a piece has part in against its arena.
fn harm_inside(board: &Board<'_>, arena: &Arena, piece: usize) -> Harm {
    board.harm_of(piece, arena.guests.iter().chain(&arena.dom0).copied())
}

/// A place where the piece does, or takes, less harm.
fn better_place(board: &mut Board<'_>, arena: &Arena, piece: usize) -> Option<Shift> {
    let now = harm_inside(board, arena, piece);
    let here = extreme_vector(board, piece, &board.pieces[piece].fresh).map(|vector| board.to_vector(piece, vector));
    if let Some(shift) = here
        && tried(board, &shift, |board| harm_inside(board, arena, piece)) < now
    {
        return Some(shift);
    }
    if board.goal.retarget == Retarget::Forbidden || board.host.model != DestinationModel::Physical {
        return None;
    }
    let reachable: Vec<_> =
        board.pieces[piece].source.reachable.iter().filter(|cpu| board.host.online.contains(*cpu)).collect();
    for cpu in reachable {
        let holders = CpuSet::single(cpu);
        let Some(vector) = extreme_vector(board, piece, &holders) else { continue };
        let shift = Shift { piece, vector, target: holders.clone(), holders };
        if tried(board, &shift, |board| board.harm_of(piece, 0..board.pieces.len())) < now {
            return Some(shift);
        }
    }
    None
}

/// The free vector that is the furthest on the right side: a guest's lowest, dom0's highest.
fn extreme_vector(board: &Board<'_>, piece: usize, cpus: &CpuSet) -> Option<Vector> {
    let free = board.free(cpus);
    if board.pieces[piece].role.is_guest() { free.lowest() } else { free.highest() }
}

/// What `measure` finds while a shift is done.
fn tried(board: &mut Board<'_>, shift: &Shift, measure: impl Fn(&Board<'_>) -> Harm) -> Harm {
    let undo = board.shift_logged(shift);
    let found = measure(board);
    board.shift_logged(&undo);
    found
}
