//! The finished board as moves with their reasons and inversions with what stops their mending.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Chance;
use crate::CpuSet;
use crate::InversionKind;
use crate::SourceId;
use crate::When;
use crate::inversion::harms;
use crate::plan::Change;
use crate::plan::Constraint;
use crate::plan::Mended;
use crate::plan::Move;
use crate::plan::Place;
use crate::plan::Remaining;
use crate::plan::arena::Arena;
use crate::plan::arena::arenas;
use crate::plan::board::Board;
use crate::plan::board::Role;
use crate::plan::board::Shift;
use crate::plan::lottery::Reach;
use crate::plan::lottery::drawers;
use crate::plan::pin::Pin;

/// The pins and then the shifts as moves, each with what it helped to mend between `start` and `end`.
pub(super) fn moves(start: &Board<'_>, end: &Board<'_>, pins: &[Pin], shifts: &[Shift]) -> Vec<Move> {
    let mut at = start.clone();
    let sides = Sides::of(start);
    let mut moves = Vec::with_capacity(pins.len() + shifts.len());
    for pin in pins {
        let source = &mut at.pieces[pin.piece].source;
        source.reachable.clone_from(&pin.to);
        source.target.clone_from(&pin.target);
        let change = Change::Pin { from: pin.from.clone(), to: pin.to.clone(), target: pin.target.clone() };
        moves.push(Move {
            source: source.id,
            label: source.label.clone(),
            change,
            mends: pin.mends.clone(),
            more: pin.more,
        });
    }
    for shift in shifts {
        let undo = at.shift_logged(shift);
        let place = |shift: &Shift| Place {
            vector: shift.vector,
            holders: shift.holders.clone(),
            target: shift.target.clone(),
        };
        let change = Change::Revector { from: place(&undo), to: place(shift) };
        moves.push(sides.moved(start, end, shift.piece, change));
    }
    moves
}

/// Whether it is there whatever the order of the vectors.
const fn is_drawn(kind: InversionKind) -> bool {
    matches!(kind, InversionKind::Possible(Chance::VectorDrawn))
}

/// Who could meet whom at the start.
struct Sides {
    arenas: Vec<Arena>,
    /// The arena of each piece that has a part in one.
    of_piece: BTreeMap<usize, usize>,
}

impl Sides {
    fn of(start: &Board<'_>) -> Self {
        let arenas = arenas(start);
        let mut of_piece = BTreeMap::new();
        for (number, arena) in arenas.iter().enumerate() {
            of_piece.extend(arena.guests.iter().chain(&arena.dom0).map(|piece| (*piece, number)));
        }
        Self { arenas, of_piece }
    }

    /// A move of `piece`, with those inversions that are there no more; lotteries among them if it settled the piece.
    fn moved(&self, start: &Board<'_>, end: &Board<'_>, piece: usize, change: Change) -> Move {
        let source = &start.pieces[piece].source;
        let is_guest = start.pieces[piece].role.is_guest();
        let others = self.of_piece.get(&piece).map_or(&[][..], |arena| match is_guest {
            true => &self.arenas[*arena].dom0[..],
            false => &self.arenas[*arena].guests[..],
        });
        let is_anchored = !Reach::of(start, piece).is_settled && Reach::of(end, piece).is_settled;
        let mut mends = Vec::new();
        let mut more = 0;
        for other in others {
            let (guest, dom0) = if is_guest { (piece, *other) } else { (*other, piece) };
            for kind in ended(start, end, guest, dom0).filter(|kind| is_anchored || !is_drawn(*kind)) {
                if mends.len() < Move::LISTED {
                    mends.push(Mended { kind, against: start.pieces[*other].source.id });
                } else {
                    more += 1;
                }
            }
        }
        Move { source: source.id, label: source.label.clone(), change, mends, more }
    }
}

/// The harms of a pair that were there at the start and are not at the end.
fn ended(start: &Board<'_>, end: &Board<'_>, guest: usize, dom0: usize) -> impl Iterator<Item = InversionKind> + use<> {
    let of = |board: &Board<'_>| {
        let (guest, dom0) = (&board.pieces[guest].source, &board.pieces[dom0].source);
        harms(guest, dom0, board.host.ioapic_ack)
    };
    let after: Vec<InversionKind> = of(end).collect();
    of(start).filter(move |kind| !after.contains(kind))
}

/// Every inversion on the finished board, with what stops its mending.
pub(super) fn remaining(board: &Board<'_>) -> Vec<Remaining> {
    let mut remaining = lotteries(board);
    for arena in arenas(board) {
        for guest in &arena.guests {
            let first = remaining.len();
            for dom0 in &arena.dom0 {
                for kind in lasting(board, *guest, *dom0) {
                    let because = constraints(board, *guest, *dom0, kind);
                    let id = board.pieces[*dom0].source.id;
                    match remaining[first..].iter_mut().find(|known| known.kind == kind && known.because == because) {
                        Some(known) => known.dom0.push(id),
                        None => remaining.push(Remaining {
                            kind,
                            guests: [board.pieces[*guest].source.id].into(),
                            dom0: [id].into(),
                            because,
                        }),
                    }
                }
            }
        }
    }
    remaining.sort_by_key(|entry| core::cmp::Reverse(entry.kind));
    remaining
}

/// The harms of a pair that are no lottery.
fn lasting(board: &Board<'_>, guest: usize, dom0: usize) -> impl Iterator<Item = InversionKind> + use<> {
    let (guest, dom0) = (&board.pieces[guest].source, &board.pieces[dom0].source);
    let kinds: Vec<InversionKind> = harms(guest, dom0, board.host.ioapic_ack).collect();
    let drawn = kinds.iter().any(|kind| is_drawn(*kind));
    kinds
        .into_iter()
        .filter(move |kind| !(is_drawn(*kind) || drawn && *kind == InversionKind::Retention(When::AfterMove)))
}

/// The lotteries, group against group.
fn lotteries(board: &Board<'_>) -> Vec<Remaining> {
    let dom0 = drawers(board, |role| role == Role::Dom0);
    let ids =
        |pieces: &[usize]| -> Vec<SourceId> { pieces.iter().map(|piece| board.pieces[*piece].source.id).collect() };
    let mut remaining = Vec::new();
    for group in drawers(board, Role::is_guest) {
        let players: Vec<_> = dom0.iter().filter(|other| group.reach.plays(&other.reach)).collect();
        let against: Vec<usize> = players.iter().flat_map(|other| &other.pieces).copied().collect();
        if against.is_empty() {
            continue;
        }
        let roaming = players.iter().find(|other| !other.reach.is_settled);
        let drawing = [&group].into_iter().filter(|group| !group.reach.is_settled).chain(roaming.copied());
        let because: Vec<Constraint> =
            drawing.filter_map(|side| side.pieces.first()).map(|piece| drawn(board, *piece)).collect();
        let mut kinds = Vec::from([InversionKind::Possible(Chance::VectorDrawn)]);
        if group.role == Role::Retaining {
            kinds.push(InversionKind::Retention(When::AfterMove));
        }
        for kind in kinds {
            let (guests, dom0) = (ids(&group.pieces), ids(&against));
            remaining.push(Remaining { kind, guests, dom0, because: because.clone() });
        }
    }
    remaining
}

/// How a source draws.
fn drawn(board: &Board<'_>, piece: usize) -> Constraint {
    let source = &board.pieces[piece].source;
    Constraint::Drawn {
        source: source.id,
        vector: source.vector,
        holders: source.holders.clone(),
        reachable: source.reachable.clone(),
    }
}

/// What stops either side of a pair from mending it.
fn constraints(board: &Board<'_>, guest: usize, dom0: usize, kind: InversionKind) -> Vec<Constraint> {
    let (guest_piece, dom0_piece) = (&board.pieces[guest], &board.pieces[dom0]);
    if !board.goal.mend.include(kind) {
        return [Constraint::Forbidden { source: guest_piece.source.id }].into();
    }
    let below = || {
        let demand = board.demand((guest, &guest_piece.fresh), (dom0, &dom0_piece.source.holders));
        let bound = demand.ceiling(dom0_piece.source.vector)?;
        let is_full = board.free(&guest_piece.fresh).below(bound).is_empty();
        let (source, cpus) = (guest_piece.source.id, guest_piece.fresh.clone());
        is_full.then_some(Constraint::NoVectorBelow { source, vector: bound, cpus })
    };
    let above = || {
        let demand = board.demand((guest, &guest_piece.source.holders), (dom0, &dom0_piece.fresh));
        let bound = demand.floor(guest_piece.source.vector)?;
        let is_full = board.free(&dom0_piece.fresh).above(bound).is_empty();
        let (source, cpus) = (dom0_piece.source.id, dom0_piece.fresh.clone());
        is_full.then_some(Constraint::NoVectorAbove { source, vector: bound, cpus })
    };
    let is_without_spare = |cpus: &CpuSet| !cpus.is_empty() && board.free(cpus).is_empty();
    if guest_piece.stays.is_none()
        && dom0_piece.stays.is_none()
        && is_without_spare(&guest_piece.fresh)
        && is_without_spare(&dom0_piece.fresh)
    {
        return [Constraint::NoSpare { cpus: guest_piece.fresh.union(&dom0_piece.fresh) }].into();
    }
    let entangled = |source| Constraint::Entangled { source };
    let guest_side = guest_piece.stays.clone().or_else(below).unwrap_or(entangled(guest_piece.source.id));
    let dom0_side = dom0_piece.stays.clone().or_else(above).unwrap_or(entangled(dom0_piece.source.id));
    [guest_side, dom0_side].into()
}
