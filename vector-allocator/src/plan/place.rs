//! Where the movers go: a vector for each that is free on all its CPUs and on the right side of everything that stays.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::Vector;
use crate::VectorSet;
use crate::plan::arena::Arena;
use crate::plan::board::Board;
use crate::plan::board::Role;
use crate::plan::cover::Matching;
use crate::plan::pairs::Pairs;

/// A vector for each mover.
pub(super) type Placement = Vec<(usize, Vector)>;

/// The movers of an arena and the vectors each may have.
struct Choice {
    piece: usize,
    /// Allowed vectors that are free now.
    free: VectorSet,
    /// Allowed vectors that other movers leave behind.
    left_behind: VectorSet,
}

/// Finds a vector for each mover.
///
/// # Errors
/// The first mover that finds none.
pub(super) fn place(
    board: &mut Board<'_>,
    arena: &Arena,
    movers: &BTreeSet<usize>,
    pairs: &Pairs,
) -> Result<Placement, usize> {
    let choices = choices(board, arena, movers, pairs);
    let bar = retaining_bar(board, arena);
    let placement = choose(board, &choices, bar, None)?;
    let Err(mover) = in_order(board, arena, &placement, pairs) else { return Ok(placement) };
    // Guests and dom0's sources that move past each other: a boundary between them decides where both may go.
    for boundary in Vector::all() {
        if let Ok(placement) = choose(board, &choices, bar, Some(boundary))
            && in_order(board, arena, &placement, pairs).is_ok()
        {
            return Ok(placement);
        }
    }
    Err(mover)
}

/// Finds a vector for each mover, dom0's at `boundary` or above it and guests' below.
///
/// # Errors
/// The first mover that finds none.
pub(super) fn place_around(
    board: &mut Board<'_>,
    arena: &Arena,
    movers: &BTreeSet<usize>,
    boundary: Vector,
) -> Result<Placement, usize> {
    let pairs = Pairs::default();
    let choices = choices(board, arena, movers, &pairs);
    choose(board, &choices, retaining_bar(board, arena), Some(boundary))
}

/// What each mover may have, the most constrained first.
fn choices(board: &mut Board<'_>, arena: &Arena, movers: &BTreeSet<usize>, pairs: &Pairs) -> Vec<Choice> {
    let free: Vec<VectorSet> = movers.iter().map(|piece| board.free(&board.pieces[*piece].fresh)).collect();
    for piece in movers {
        board.lift(*piece);
    }
    let mut choices: Vec<Choice> = Vec::with_capacity(movers.len());
    for (piece, free) in movers.iter().zip(free) {
        let allowed = allowed(board, arena, *piece, movers, pairs);
        choices.push(Choice {
            piece: *piece,
            free: allowed.intersection(&free),
            left_behind: allowed.difference(&free),
        });
    }
    for piece in movers {
        board.put(*piece);
    }
    choices.sort_by_key(|choice| choice.free.len() + choice.left_behind.len());
    choices
}

/// The vectors a mover may have beside everything that stays; other movers' vectors count as free.
fn allowed(board: &Board<'_>, arena: &Arena, mover: usize, movers: &BTreeSet<usize>, pairs: &Pairs) -> VectorSet {
    let piece = &board.pieces[mover];
    let mut vectors = board.free(&piece.fresh);
    // The old vector stays taken until the new one is in use.
    vectors.remove(piece.source.vector);
    let stays = |other: &&usize| !movers.contains(*other);
    if piece.role == Role::Bystander {
        vectors
    } else if piece.role.is_guest() {
        let ceilings = arena.dom0.iter().filter(stays).filter(|dom0| !pairs.is_given_up(mover, **dom0));
        let ceilings = ceilings.filter_map(|dom0| {
            let source = &board.pieces[*dom0].source;
            board.demand((mover, &piece.fresh), (*dom0, &source.holders)).ceiling(source.vector)
        });
        let lowest = ceilings.min_by_key(|vector| vector.number());
        lowest.map_or(vectors, |lowest| vectors.below(lowest))
    } else {
        let floors = arena.guests.iter().filter(stays).filter(|guest| !pairs.is_given_up(**guest, mover));
        let floors = floors.filter_map(|guest| {
            let source = &board.pieces[*guest].source;
            board.demand((*guest, &source.holders), (mover, &piece.fresh)).floor(source.vector)
        });
        let highest = floors.max_by_key(|vector| vector.number());
        highest.map_or(vectors, |highest| vectors.above(highest))
    }
}

/// The top of the highest class a retaining guest is in, or will be in: plain guests leave the classes below to them.
fn retaining_bar(board: &Board<'_>, arena: &Arena) -> Option<Vector> {
    let retaining =
        arena.guests.iter().map(|guest| &board.pieces[*guest]).filter(|piece| piece.role == Role::Retaining);
    let lowest = retaining.filter_map(|piece| {
        let free = board.free(&piece.fresh).lowest()?;
        Some(if free.outranks(piece.source.vector) { piece.source.vector } else { free })
    });
    let highest = lowest.max_by_key(|vector| vector.number())?;
    Vector::new(highest.number() | 0x0f).ok()
}

/// Matches movers to vectors in the order of their preference: retaining guests lowest, dom0 highest, plain guests above
/// the retaining ones.
fn choose(
    board: &Board<'_>,
    choices: &[Choice],
    bar: Option<Vector>,
    boundary: Option<Vector>,
) -> Result<Placement, usize> {
    let ranked = |choice: &Choice, vectors: &VectorSet| -> Vec<usize> {
        let role = board.pieces[choice.piece].role;
        let class_start = |vector: Vector| Vector::new(vector.number() & 0xf0).ok();
        let vectors = match (role, boundary) {
            (_, None) | (Role::Bystander, _) => *vectors,
            (Role::Retaining, Some(boundary)) => class_start(boundary).map_or(*vectors, |first| vectors.below(first)),
            (Role::Guest, Some(boundary)) => vectors.below(boundary),
            (Role::Dom0, Some(boundary)) => vectors.difference(&vectors.below(boundary)),
        };
        match (role, bar) {
            (Role::Dom0 | Role::Bystander, _) => vectors.iter().rev().map(Vector::index).collect(),
            (Role::Guest, Some(bar)) => {
                let above = vectors.above(bar);
                let rest = vectors.difference(&above);
                above.iter().chain(rest.iter().rev()).map(Vector::index).collect()
            }
            (Role::Guest | Role::Retaining, _) => vectors.iter().map(Vector::index).collect(),
        }
    };
    let edges: Vec<Vec<usize>> = choices
        .iter()
        .map(|choice| {
            let mut edges = ranked(choice, &choice.free);
            edges.extend(ranked(choice, &choice.left_behind));
            edges
        })
        .collect();
    let mut matching = Matching::new(choices.len(), 256);
    for (mover, choice) in choices.iter().enumerate() {
        if !matching.augment(&edges, mover) {
            return Err(choice.piece);
        }
    }
    let vector_of = |(choice, chosen): (&Choice, &Option<usize>)| {
        let vector = u8::try_from((*chosen)?).ok().and_then(|number| Vector::new(number).ok())?;
        Some((choice.piece, vector))
    };
    Ok(choices.iter().zip(&matching.chosen).filter_map(vector_of).collect())
}

/// Whether the movers stand in order among themselves; the guest of the first pair that does not is the error.
fn in_order(board: &Board<'_>, arena: &Arena, placement: &Placement, pairs: &Pairs) -> Result<(), usize> {
    let of = |side: &[usize]| -> Placement {
        let side: BTreeSet<usize> = side.iter().copied().collect();
        placement.iter().copied().filter(|(piece, _)| side.contains(piece)).collect()
    };
    let (guests, dom0) = (of(&arena.guests), of(&arena.dom0));
    for (guest, below) in &guests {
        for (other, above) in dom0.iter().filter(|(other, _)| !pairs.is_given_up(*guest, *other)) {
            let demand = board.demand((*guest, &board.pieces[*guest].fresh), (*other, &board.pieces[*other].fresh));
            if demand.is_broken(*below, *above) {
                return Err(*guest);
            }
        }
    }
    Ok(())
}
