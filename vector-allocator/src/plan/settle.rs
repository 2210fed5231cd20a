//! Plans one arena: the fewest movers, a place for each, and an order in which they can go there.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use crate::Retarget;
use crate::VectorSet;
use crate::meeting::covers;
use crate::plan::arena::Arena;
use crate::plan::band;
use crate::plan::board::Board;
use crate::plan::board::Harm;
use crate::plan::board::Shift;
use crate::plan::cover::Conflicts;
use crate::plan::exact;
use crate::plan::exact::Budget;
use crate::plan::order::sequence;
use crate::plan::pairs::Mender;
use crate::plan::pairs::Pairs;
use crate::plan::place::place;
use crate::plan::place::place_around;
use crate::plan::rescue::rescue;

/// What was done to an arena.
#[derive(Debug)]
pub(super) struct Settled {
    /// The moves, in order; the board has them done.
    pub(super) shifts: Vec<Shift>,
    /// No plan that mends the same has fewer moves than this.
    pub(super) lower_bound: usize,
}

/// Mends what can be mended in `arena` and leaves the board so.
pub(super) fn settle(board: &mut Board<'_>, arena: &Arena, start: &Board<'_>, budget: &mut Budget) -> Settled {
    let before = inverted(board, arena);
    if before.is_empty() {
        return Settled { shifts: Vec::new(), lower_bound: 0 };
    }
    if let Some(settled) = settle_by_band(board, arena, &before, start) {
        return settled;
    }
    let (mut shifts, mut undo) = mend(board, arena, &before);
    rescue(board, arena, &mut shifts, &mut undo);

    let mended: Vec<_> = before.iter().copied().filter(|(guest, dom0)| !board.is_inverted(*guest, *dom0)).collect();
    let given = given(&mended, start);
    let lower_bound = conflicts(arena, &given).lower_bound();
    if mended.len() == before.len() && shifts.len() == lower_bound {
        return Settled { shifts, lower_bound };
    }
    let harm = total_harm(board, arena);
    while let Some(step) = undo.pop() {
        board.shift_logged(&step);
    }
    if let Some(best) = exact::search(board, arena, budget)
        && (best.harm, best.shifts.len()) <= (harm, shifts.len())
    {
        shifts = best.shifts;
        for shift in &shifts {
            board.shift_logged(shift);
        }
        let is_whole_search = given.len() == mended.len() && cannot_leave(board, arena);
        let lower_bound = if is_whole_search { shifts.len() } else { lower_bound };
        return Settled { shifts, lower_bound };
    }
    for shift in &shifts {
        board.shift_logged(shift);
    }
    Settled { shifts, lower_bound }
}

/// Mends an arena where everyone meets everyone by the cheapest boundary; none if it is no such arena.
fn settle_by_band(
    board: &mut Board<'_>,
    arena: &Arena,
    before: &[(usize, usize)],
    start: &Board<'_>,
) -> Option<Settled> {
    let band = band::cheapest(board, arena)?;
    let placement = place_around(board, arena, &band.movers, band.boundary).ok()?;
    let (shifts, _) = sequence(board, placement, |board, piece| band.open_to(board.pieces[piece].role)).ok()?;
    let given = given(before, start);
    let lower_bound = match given.len() == before.len() && cannot_leave(board, arena) {
        true => band.movers.len(),
        false => conflicts(arena, &given).lower_bound(),
    };
    Some(Settled { shifts, lower_bound })
}

/// The pairs that were inverted at the start, without those who change anyway: what a pin brought about could have been
/// avoided by another pin.
fn given(pairs: &[(usize, usize)], start: &Board<'_>) -> Vec<(usize, usize)> {
    let changes = |piece: &usize| start.anchors.contains(piece);
    let is_given =
        |(guest, dom0): &(usize, usize)| !changes(guest) && !changes(dom0) && start.is_inverted(*guest, *dom0);
    pairs.iter().copied().filter(is_given).collect()
}

/// Whether no piece of the arena may be sent out of it, so that a search inside leaves nothing out.
fn cannot_leave(board: &Board<'_>, arena: &Arena) -> bool {
    let stays_inside = |piece: &usize| covers(&board.pieces[*piece].fresh, &board.pieces[*piece].source.reachable);
    board.goal.retarget == Retarget::Forbidden
        || arena.guests.iter().chain(&arena.dom0).chain(&arena.bystanders).all(stays_inside)
}

/// Every pair that stands against its demand.
fn inverted(board: &Board<'_>, arena: &Arena) -> Vec<(usize, usize)> {
    let all = arena.guests.iter().flat_map(|guest| arena.dom0.iter().map(|dom0| (*guest, *dom0)));
    all.filter(|(guest, dom0)| board.is_inverted(*guest, *dom0)).collect()
}

/// The harm of all pairs of an arena.
pub(super) fn total_harm(board: &Board<'_>, arena: &Arena) -> Harm {
    arena.guests.iter().flat_map(|guest| arena.dom0.iter().map(|dom0| board.harm(*guest, *dom0))).sum()
}

/// Chooses movers by a minimum cover and places them; where one finds no place its pairs fall to the other side, or are
/// given up. Returns the shifts done and, for each, what undoes it.
fn mend(board: &mut Board<'_>, arena: &Arena, inverted: &[(usize, usize)]) -> (Vec<Shift>, Vec<Shift>) {
    let mut pairs = Pairs::default();
    for (guest, dom0) in inverted {
        if board.pieces[*guest].stays.is_some() {
            pairs.guest_cannot(*guest, *dom0);
        }
        if board.pieces[*dom0].stays.is_some() {
            pairs.dom0_cannot(*guest, *dom0);
        }
    }
    loop {
        let movers = movers(arena, inverted, &pairs);
        if movers.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let failed = match place(board, arena, &movers, &pairs) {
            Ok(placement) => match sequence(board, placement, |_, _| VectorSet::EMPTY) {
                Ok(done) => return done,
                Err(piece) => piece,
            },
            Err(piece) => piece,
        };
        // One side of one pair less each time, so this ends.
        if !concede(board, &movers, inverted, failed, &mut pairs) {
            return (Vec::new(), Vec::new());
        }
    }
}

/// The sources that must move for every pair that can be mended: those without an alternative, and a minimum cover of
/// the rest.
fn movers(arena: &Arena, inverted: &[(usize, usize)], pairs: &Pairs) -> BTreeSet<usize> {
    let mut movers = BTreeSet::new();
    for (guest, dom0) in inverted {
        match pairs.mender(*guest, *dom0) {
            Mender::Guest => movers.insert(*guest),
            Mender::Dom0 => movers.insert(*dom0),
            Mender::Either | Mender::Nobody => false,
        };
    }
    let open: Vec<_> = inverted
        .iter()
        .copied()
        .filter(|(guest, dom0)| pairs.mender(*guest, *dom0) == Mender::Either)
        .filter(|(guest, dom0)| !movers.contains(guest) && !movers.contains(dom0))
        .collect();
    let cover = conflicts(arena, &open).cover();
    movers.extend(cover.lefts.iter().map(|left| arena.guests[*left]));
    movers.extend(cover.rights.iter().map(|right| arena.dom0[*right]));
    movers
}

/// Gives up mending the hardest pair of a mover that found no place by moving it. Whether there was one.
fn concede(
    board: &Board<'_>,
    movers: &BTreeSet<usize>,
    inverted: &[(usize, usize)],
    failed: usize,
    pairs: &mut Pairs,
) -> bool {
    let is_guest = board.pieces[failed].role.is_guest();
    let candidates = inverted.iter().copied().filter(|(guest, dom0)| match is_guest {
        true => *guest == failed && matches!(pairs.mender(*guest, *dom0), Mender::Either | Mender::Guest),
        false => *dom0 == failed && matches!(pairs.mender(*guest, *dom0), Mender::Either | Mender::Dom0),
    });
    let other = |pair: &(usize, usize)| if is_guest { pair.1 } else { pair.0 };
    let number = |pair: &(usize, usize)| board.pieces[other(pair)].source.vector.number();
    // What moves with it binds it least; of the rest the lowest ceiling, or the highest floor, binds it most.
    let hardest = candidates.min_by_key(|pair| {
        let rank = if is_guest { number(pair) } else { u8::MAX - number(pair) };
        (movers.contains(&other(pair)), rank)
    });
    hardest.is_some_and(|(guest, dom0)| match is_guest {
        true => pairs.guest_cannot(guest, dom0),
        false => pairs.dom0_cannot(guest, dom0),
    })
}

/// Pairs as a graph over the arena's own numbering.
fn conflicts(arena: &Arena, pairs: &[(usize, usize)]) -> Conflicts {
    let number = |side: &[usize]| -> BTreeMap<usize, usize> {
        side.iter().enumerate().map(|(number, piece)| (*piece, number)).collect()
    };
    let (lefts, rights) = (number(&arena.guests), number(&arena.dom0));
    let mut edges = vec![Vec::new(); arena.guests.len()];
    for (guest, dom0) in pairs {
        edges[lefts[guest]].push(rights[dom0]);
    }
    Conflicts { edges, rights: arena.dom0.len() }
}
