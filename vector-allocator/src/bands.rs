//! The order `below-dom0` keeps on one place: retaining guests, guests, dom0, from the bottom up.
//!
//! ```text
//!   low                                                                        high
//!   | retaining → |  room  | ← guests from the floor → |     room     | ← dom0, system |
//!                      class border: no retaining vector shares a class with a host's
//! ```
//!
//! The borders are wherever the leases leave them: each band grows into the room next to it until it meets the next.

use crate::Rank;
use crate::Vector;
use crate::VectorSet;

/// Who holds which vector, by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bands {
    retaining: VectorSet,
    guest: VectorSet,
    host: VectorSet,
}

impl Bands {
    /// Nobody holds anything.
    pub(crate) const EMPTY: Self =
        Self { retaining: VectorSet::EMPTY, guest: VectorSet::EMPTY, host: VectorSet::EMPTY };

    /// The vectors held by `rank`.
    pub(crate) const fn of(&self, rank: Rank) -> &VectorSet {
        match rank {
            Rank::Retaining => &self.retaining,
            Rank::Guest => &self.guest,
            Rank::Host => &self.host,
        }
    }

    /// The vectors held by `rank`, to change.
    pub(crate) const fn of_mut(&mut self, rank: Rank) -> &mut VectorSet {
        match rank {
            Rank::Retaining => &mut self.retaining,
            Rank::Guest => &mut self.guest,
            Rank::Host => &mut self.host,
        }
    }

    /// The vector out of `free` that a source of `rank` gets without breaking the order; none if every one would.
    /// Guests start at `floor`, which leaves the room below it to retaining sources.
    pub(crate) fn slot(&self, free: &VectorSet, rank: Rank, floor: Vector) -> Option<Vector> {
        match rank {
            // The bands at the ends take the outermost free vector: if that one breaks the order, every other does.
            Rank::Host => free.highest().filter(|vector| self.stopper(*vector, rank).is_none()),
            Rank::Retaining => free.lowest().filter(|vector| self.stopper(*vector, rank).is_none()),
            Rank::Guest => {
                let (top, bottom) = (self.retaining.highest(), self.host.lowest());
                let (over, under) = (top.map_or(0, |top| top.index() + 1), bottom.map_or(256, Vector::index));
                // Between the bands from the floor up; and when that is full, down to the lower band.
                let upward = free.lowest_from(floor.index().max(over)).filter(|vector| vector.index() < under);
                upward.or_else(|| free.highest_below(under).filter(|vector| vector.index() >= over))
            }
        }
    }

    /// The held vector that a source of `rank` at `vector` would be on the wrong side of; none if the order admits it.
    pub(crate) fn stopper(&self, vector: Vector, rank: Rank) -> Option<Vector> {
        let (retaining, guest, host) = (&self.retaining, &self.guest, &self.host);
        let above = |set: &VectorSet| set.highest().filter(|top| !vector.outranks(*top));
        let below = |set: &VectorSet| set.lowest().filter(|bottom| !bottom.outranks(vector));
        match rank {
            Rank::Host => above(guest).or_else(|| retaining.highest().filter(|top| top.blocks_in_service(vector))),
            Rank::Guest => below(host).or_else(|| above(retaining)),
            Rank::Retaining => {
                host.lowest().filter(|bottom| vector.blocks_in_service(*bottom)).or_else(|| below(guest))
            }
        }
    }

    /// A pair in the wrong order: the lower band's vector and the higher band's; none if all is well.
    pub(crate) fn disorder(&self) -> Option<(Vector, Vector)> {
        let pair = |low: &VectorSet, high: &VectorSet| Some((low.highest()?, high.lowest()?));
        let ranks = [(&self.retaining, &self.guest), (&self.guest, &self.host)];
        let rank =
            ranks.into_iter().find_map(|(low, high)| pair(low, high).filter(|(top, bottom)| !bottom.outranks(*top)));
        rank.or_else(|| pair(&self.retaining, &self.host).filter(|(top, bottom)| top.blocks_in_service(*bottom)))
    }
}

/// Where guests start: the lowest vector of the class a quarter up the pool. Level-triggered and unmaskable guest sources
/// are the exception, so a quarter is left to them before guests have to make do with what is below.
pub(crate) fn floor(pool: &VectorSet) -> Vector {
    let quarter = pool.iter().nth(pool.len() as usize / 4).unwrap_or(Vector::LOWEST);
    Vector::new(quarter.number() & 0xf0).unwrap_or(Vector::LOWEST)
}
