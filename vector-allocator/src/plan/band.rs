//! Arenas where everyone meets everyone: there the order is one boundary, and the fewest moves can be counted for each.
//!
//! ```text
//!           0x20          class of b      b                    0xef
//!            │     low       │    mid     │        high          │
//!   retaining ─────────────▶ ┊            ┊
//!   guests    ───────────────┊──────────▶ ┊
//!   dom0                     ┊            ┊ ◀────────────────────
//!   others    anywhere, and out of the way where a band is full
//! ```

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::CpuSet;
use crate::Vector;
use crate::VectorSet;
use crate::plan::arena::Arena;
use crate::plan::board::Board;
use crate::plan::board::Demand;
use crate::plan::board::Role;

/// The cheapest boundary of an arena.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// The lowest vector dom0's sources may have.
    pub(super) boundary: Vector,
    /// The sources that must move, and others that must make room for them: no plan for the arena moves fewer.
    pub(super) movers: BTreeSet<usize>,
}

/// The bands that a boundary makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Zone {
    Low,
    Mid,
    High,
}

/// The vectors below a boundary, by zone.
struct Zones {
    low: VectorSet,
    up_to_boundary: VectorSet,
}

/// Finds the boundary with the fewest moves, among those the one that moves the fewest of dom0's sources. None if the
/// arena is not of this kind or no boundary mends it all.
pub(super) fn cheapest(board: &Board<'_>, arena: &Arena) -> Option<Band> {
    let cpus = common_cpus(board, arena)?;
    let free = board.free(cpus);
    let hosts_moved = |band: &Band| band.movers.iter().filter(|piece| board.pieces[**piece].role == Role::Dom0).count();
    let mut best: Option<(usize, usize, Band)> = None;
    for boundary in Vector::all() {
        let fewest = best.as_ref().map_or(usize::MAX, |(moves, ..)| *moves);
        let Some(band) = band(board, arena, &free, boundary, fewest) else { continue };
        let cost = (band.movers.len(), hosts_moved(&band));
        if best.as_ref().is_none_or(|(moves, hosts, _)| cost < (*moves, *hosts)) {
            best = Some((cost.0, cost.1, band));
        }
    }
    best.map(|(.., band)| band)
}

/// The CPUs on which every vector of the arena is taken, if all demand order of all and no two share a vector.
fn common_cpus<'a>(board: &'a Board<'_>, arena: &Arena) -> Option<&'a CpuSet> {
    let cpus = &board.pieces[*arena.guests.first()?].fresh;
    let mut seen = VectorSet::EMPTY;
    let is_alike = |piece: &usize| {
        let piece = &board.pieces[*piece];
        piece.fresh == *cpus && piece.source.holders.is_subset(cpus) && seen.insert(piece.source.vector)
    };
    let ordered = |guest: &usize| {
        arena.dom0.iter().all(|dom0| {
            let (upper, lower) = (&board.pieces[*guest].source.holders, &board.pieces[*dom0].source.holders);
            let demand = board.demand((*guest, upper), (*dom0, lower));
            match board.pieces[*guest].role {
                Role::Retaining => demand == Demand::ClassBelow,
                Role::Guest | Role::Dom0 | Role::Bystander => demand == Demand::Below,
            }
        })
    };
    let everyone = arena.guests.iter().chain(&arena.dom0).chain(&arena.bystanders);
    (everyone.copied().collect::<Vec<_>>().iter().all(is_alike) && arena.guests.iter().all(ordered)).then_some(cpus)
}

/// Who must move if dom0's sources are to be at `boundary` or above and guests' below it. None if some cannot, or if they
/// are more than `limit`.
fn band(board: &Board<'_>, arena: &Arena, free: &VectorSet, boundary: Vector, limit: usize) -> Option<Band> {
    let zones = Zones::around(boundary);
    let zone = |piece: usize| zones.of(board.pieces[piece].source.vector);
    let may_move = |piece: &usize| board.pieces[*piece].stays.is_none();
    let is_out_of_place = |piece: &usize| match board.pieces[*piece].role {
        Role::Retaining => zone(*piece) != Zone::Low,
        Role::Guest => zone(*piece) == Zone::High,
        Role::Dom0 => zone(*piece) != Zone::High,
        Role::Bystander => false,
    };
    let all = || arena.guests.iter().chain(&arena.dom0).copied();
    if all().filter(is_out_of_place).count() > limit {
        return None;
    }
    let mut movers: BTreeSet<usize> = all().filter(is_out_of_place).collect();
    if !movers.iter().all(may_move) {
        return None;
    }
    let count = |role: Role| movers.iter().filter(|piece| board.pieces[**piece].role == role).count();
    let (retaining, guests, dom0) = (count(Role::Retaining), count(Role::Guest), count(Role::Dom0));

    // A vector that is left can be taken again, unless it was none to lease in the first place.
    let cpus = &board.pieces[*arena.guests.first()?].fresh;
    let is_leasable = |piece: &usize| {
        let vector = board.pieces[*piece].source.vector;
        cpus.iter().all(|cpu| board.host.layout.leasable(cpu).contains(vector))
    };
    let left = |in_zone: Zone| movers.iter().filter(|piece| zone(**piece) == in_zone && is_leasable(piece)).count();
    let below = free.intersection(&zones.up_to_boundary);
    let free_low = below.intersection(&zones.low).len() as usize;
    let free_mid = below.len() as usize - free_low;
    let free_high = free.len() as usize - below.len() as usize;
    let (low, mid, high) = (free_low + left(Zone::Low), free_mid + left(Zone::Mid), free_high + left(Zone::High));

    let too_many_low = retaining.saturating_sub(low);
    let too_many_below = (retaining + guests).saturating_sub(low + mid);
    let too_many_high = dom0.saturating_sub(high);
    if too_many_below > high.saturating_sub(dom0) || too_many_high > (low + mid).saturating_sub(retaining + guests) {
        return None;
    }
    let idle = |in_zone: Zone| {
        arena
            .bystanders
            .iter()
            .copied()
            .filter(may_move)
            .filter(is_leasable)
            .filter(move |piece| zone(*piece) == in_zone)
    };
    // Those that leave the low band for the high one make room in both bands they leave.
    let upwards: Vec<usize> = idle(Zone::Low).chain(idle(Zone::Mid)).take(too_many_below).collect();
    let downwards: Vec<usize> = idle(Zone::High).take(too_many_high).collect();
    let still_low = too_many_low.saturating_sub(upwards.iter().filter(|piece| zone(**piece) == Zone::Low).count());
    let plain = arena.guests.iter().copied().filter(|piece| board.pieces[*piece].role == Role::Guest);
    let plain_low = plain.filter(may_move).filter(is_leasable).filter(|piece| zone(*piece) == Zone::Low);
    let aside: Vec<usize> =
        idle(Zone::Low).filter(|piece| !upwards.contains(piece)).chain(plain_low).take(still_low).collect();
    if upwards.len() < too_many_below || downwards.len() < too_many_high || aside.len() < still_low {
        return None;
    }
    movers.extend(upwards.into_iter().chain(downwards).chain(aside));
    Some(Band { boundary, movers })
}

impl Band {
    /// The vectors on the right side of the boundary for a source of this role.
    pub(super) fn open_to(&self, role: Role) -> VectorSet {
        let zones = Zones::around(self.boundary);
        match role {
            Role::Retaining => zones.low,
            Role::Guest => zones.up_to_boundary,
            Role::Dom0 => VectorSet::range(self.boundary, Vector::HIGHEST),
            Role::Bystander => VectorSet::range(Vector::LOWEST, Vector::HIGHEST),
        }
    }
}

impl Zones {
    fn around(boundary: Vector) -> Self {
        let all = VectorSet::range(Vector::LOWEST, Vector::HIGHEST);
        let up_to_boundary = all.below(boundary);
        let first_of_class = Vector::new(boundary.class().number() << 4).unwrap_or(Vector::LOWEST);
        Self { low: all.below(first_of_class), up_to_boundary }
    }

    fn of(&self, vector: Vector) -> Zone {
        if self.low.contains(vector) {
            Zone::Low
        } else if self.up_to_boundary.contains(vector) {
            Zone::Mid
        } else {
            Zone::High
        }
    }
}
