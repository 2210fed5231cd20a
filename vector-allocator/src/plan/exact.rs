//! Small arenas exhaustively: every arrangement that moves can reach, the nearest first.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Vector;
use crate::plan::arena::Arena;
use crate::plan::board::Board;
use crate::plan::board::Harm;
use crate::plan::board::Role;
use crate::plan::board::Shift;
use crate::plan::settle::total_harm;

/// Arrangements that all searches of one plan together may look at.
const ARRANGEMENTS: usize = 100_000;

/// What is left of [`ARRANGEMENTS`].
#[derive(Debug)]
pub(super) struct Budget(usize);

/// The least harmful arrangement, by the fewest moves.
#[derive(Debug)]
pub(super) struct Best {
    pub(super) shifts: Vec<Shift>,
    pub(super) harm: Harm,
}

/// Where the movable pieces are, and whether each has moved (a moved one can be taken on more CPUs).
type Arrangement = Vec<Option<Vector>>;

/// How an arrangement was reached.
struct Reached {
    arrangement: Arrangement,
    from: usize,
    moved: usize,
    depth: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self(ARRANGEMENTS)
    }
}

/// The best plan there is for an arena, without sending anything to another CPU; none if there is too much to search.
pub(super) fn search(board: &mut Board<'_>, arena: &Arena, budget: &mut Budget) -> Option<Best> {
    let pieces: Vec<usize> = [&arena.guests, &arena.dom0, &arena.bystanders]
        .into_iter()
        .flatten()
        .copied()
        .filter(|piece| board.pieces[*piece].stays.is_none())
        .collect();
    let cost = arrangements(board, &pieces).filter(|cost| *cost <= budget.0)?;
    budget.0 -= cost;

    let home: Vec<Shift> = pieces.iter().map(|piece| here(board, *piece)).collect();
    let start: Arrangement = pieces.iter().map(|_| None).collect();
    let mut known = BTreeMap::from([(key(&start), ())]);
    let mut reached = Vec::from([Reached { arrangement: start, from: 0, moved: 0, depth: 0 }]);
    let mut best = (total_harm(board, arena), 0, 0, 0);
    let mut next = 0;
    while next < reached.len() {
        arrange(board, &home, &reached[next].arrangement);
        let harm = total_harm(board, arena);
        let hosts_moved = pieces.iter().zip(&reached[next].arrangement);
        let hosts_moved = hosts_moved.filter(|(piece, at)| at.is_some() && board.pieces[**piece].role == Role::Dom0);
        best = best.min((harm, reached[next].depth, hosts_moved.count(), next));
        for (moved, piece) in pieces.iter().enumerate() {
            for vector in board.free(&board.pieces[*piece].fresh).iter() {
                let mut arrangement = reached[next].arrangement.clone();
                arrangement[moved] = Some(vector);
                if known.insert(key(&arrangement), ()).is_none() {
                    reached.push(Reached { arrangement, from: next, moved, depth: reached[next].depth + 1 });
                }
            }
        }
        next += 1;
    }
    arrange(board, &home, &home.iter().map(|_| None).collect());

    let mut shifts = Vec::new();
    let mut at = best.3;
    while at != 0 {
        let step = &reached[at];
        let piece = pieces[step.moved];
        shifts.extend(step.arrangement[step.moved].map(|vector| board.to_vector(piece, vector)));
        at = step.from;
    }
    shifts.reverse();
    Some(Best { shifts, harm: best.0 })
}

/// An upper bound of the arrangements of `pieces`: each on any vector open to one of them.
fn arrangements(board: &Board<'_>, pieces: &[usize]) -> Option<usize> {
    let open = pieces.iter().map(|piece| board.free(&board.pieces[*piece].fresh).len() as usize).max()?;
    let places = open + pieces.len() + 1;
    (0..pieces.len()).try_fold(1usize, |product, taken| product.checked_mul(places - taken))
}

/// The piece's place as a move to it.
fn here(board: &Board<'_>, piece: usize) -> Shift {
    let source = &board.pieces[piece].source;
    Shift { piece, vector: source.vector, holders: source.holders.clone(), target: source.target.clone() }
}

/// Puts the pieces where an arrangement has them.
fn arrange(board: &mut Board<'_>, home: &[Shift], arrangement: &Arrangement) {
    for (home, at) in home.iter().zip(arrangement) {
        let shift = at.map_or_else(|| home.clone(), |vector| board.to_vector(home.piece, vector));
        board.shift_logged(&shift);
    }
}

/// An arrangement as something to look up.
fn key(arrangement: &Arrangement) -> Vec<u8> {
    arrangement.iter().map(|at| at.map_or(0, Vector::number)).collect()
}
