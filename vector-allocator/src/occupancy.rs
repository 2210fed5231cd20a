//! Which vectors are taken where, and how many each place has left.
//!
//! A *place* is what one lease occupies: a CPU with physical destinations, a cluster with logical ones.

use alloc::vec;
use alloc::vec::Vec;

use crate::CpuId;
use crate::CpuSet;
use crate::DestinationModel;
use crate::Policy;
use crate::Rank;
use crate::Vector;
use crate::VectorLayout;
use crate::VectorSet;
use crate::bands::Bands;
use crate::levels::Ascending;
use crate::levels::LEVELS;
use crate::levels::Levels;
use crate::seat::Claim;
use crate::seat::PlaceId;
use crate::seat::Seat;
use crate::seat::Standing;
use crate::seat::cpu_ids;

/// Masks of at most this many CPUs are looked through one by one; wider ones go by level.
const NARROW: u32 = 16;

/// The vectors of all CPUs.
#[derive(Clone, Debug)]
pub(crate) struct Occupancy {
    pub(crate) model: DestinationModel,
    pub(crate) online: CpuSet,
    pub(crate) places: Vec<Place>,
    /// Per CPU, what is taken on it; empty with physical destinations, where the place says it all.
    pub(crate) held: Vec<VectorSet>,
    /// Per place, who holds what; empty unless the policy keeps an order.
    pub(crate) bands: Vec<Bands>,
    pub(crate) levels: Levels,
    mask: Vec<u64>,
}

/// One CPU or one cluster. What every lease reads and writes comes first, on one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Place {
    /// Neither taken on an online member nor reserved.
    pub(crate) free: VectorSet,
    pub(crate) first: CpuId,
    /// Online members: bit k is the k-th CPU.
    pub(crate) online: u64,
    /// Vectors left, as `irq_matrix` counts: a reservation made or dropped while the CPU is offline is not counted, so
    /// the count can be off ([`miscount`](Self::miscount)).
    pub(crate) available: u32,
    /// By how much [`available`](Self::available) exceeds the free vectors.
    pub(crate) miscount: i32,
    /// Leases out of reservations.
    pub(crate) managed_leases: u32,
    /// Whether the count is in force: from the first time online.
    pub(crate) counted: Counted,
    /// Reserved for managed sources and not leased.
    pub(crate) reserved: VectorSet,
    /// Reserved for managed sources, leased or not.
    pub(crate) managed: VectorSet,
    /// What the layout lets be leased here.
    pub(crate) pool: VectorSet,
}

/// Whether a place's count of vectors left has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The place has not been online yet.
    NotYet,
    /// It has.
    Yes,
}

/// The only member of a mask, if it has no other.
#[inline(always)]
fn only_member(mask: &[u64]) -> Option<usize> {
    let first = mask.iter().position(|word| *word != 0)?;
    let is_alone = mask[first] & (mask[first] - 1) == 0 && mask[first + 1..].iter().all(|word| *word == 0);
    is_alone.then(|| first * 64 + mask[first].trailing_zeros() as usize)
}

/// The place at an index of the table.
#[expect(clippy::cast_possible_truncation, reason = "there are at most `Levels::MAX_PLACES`")]
const fn id(index: usize) -> PlaceId {
    PlaceId(index as u16)
}

impl Occupancy {
    pub(crate) fn new(layout: &VectorLayout, model: DestinationModel, cpus: u32, policy: Policy) -> Self {
        let width = model.cluster(CpuId::BOOT).1;
        let count = cpus.div_ceil(width);
        let place = |index: u32| {
            let first = CpuId(index * width);
            let pool = *layout.leasable(first);
            Place {
                free: pool,
                reserved: VectorSet::EMPTY,
                managed: VectorSet::EMPTY,
                pool,
                first,
                online: 0,
                available: 0,
                miscount: 0,
                managed_leases: 0,
                counted: Counted::NotYet,
            }
        };
        let places: Vec<Place> = (0..count).map(place).collect();
        let held = if model == DestinationModel::Physical { 0 } else { cpus as usize };
        let bands = if policy == Policy::BelowDom0 { places.len() } else { 0 };
        Self {
            model,
            online: CpuSet::new(),
            held: vec![VectorSet::EMPTY; held],
            bands: vec![Bands::EMPTY; bands],
            levels: Levels::new(),
            mask: vec![0; places.len().div_ceil(64)],
            places,
        }
    }

    pub(crate) fn place(&self, id: PlaceId) -> &Place {
        &self.places[id.index()]
    }

    /// The place of `cpu`.
    pub(crate) fn place_of(&self, cpu: CpuId) -> PlaceId {
        let (first, width) = self.model.cluster(cpu);
        // A host has at most 4096 CPUs; there is no place for one beyond.
        PlaceId(u16::try_from(first.0 / width).unwrap_or(u16::MAX))
    }

    /// The bit of `cpu` among its place's members.
    pub(crate) fn bit_of(&self, cpu: CpuId) -> u64 {
        1 << (cpu.0 - self.model.cluster(cpu).0.0)
    }

    /// Of `members` of a place, those in `mask`.
    pub(crate) fn within(&self, id: PlaceId, members: u64, mask: &CpuSet) -> u64 {
        members & mask.window(self.place(id).first)
    }

    /// The online place with the most vectors left, the first of equals, among those of `mask` for which `pick` has
    /// something, and that; by the rule of Linux's `matrix_find_best_cpu`.
    #[inline(always)]
    pub(crate) fn emptiest<T>(
        &mut self,
        mask: &CpuSet,
        pick: impl Fn(&Self, PlaceId) -> Option<T>,
    ) -> Option<(PlaceId, T)> {
        if self.model == DestinationModel::Physical {
            return self.emptiest_of(mask.words(), pick);
        }
        let mut places = core::mem::take(&mut self.mask);
        places.fill(0);
        for cpu in mask.iter().filter(|cpu| self.online.contains(*cpu)) {
            let index = self.place_of(cpu).index();
            places[index / 64] |= 1 << (index % 64);
        }
        let best = self.emptiest_of(&places, pick);
        self.mask = places;
        best
    }

    #[inline(always)]
    fn emptiest_of<T>(&self, mask: &[u64], pick: impl Fn(&Self, PlaceId) -> Option<T>) -> Option<(PlaceId, T)> {
        if let Some(only) = only_member(mask) {
            let place = self.places.get(only).filter(|place| place.online != 0 && place.available > 0);
            return place.and_then(|_| pick(self, id(only)).map(|picked| (id(only), picked)));
        }
        let top = self.levels.below(LEVELS)?;
        match self.first_on(top, mask, &pick) {
            None if mask.iter().map(|word| word.count_ones()).sum::<u32>() > NARROW => self.by_level(top, mask, pick),
            None => self.one_by_one(mask, pick),
            found => found,
        }
    }

    /// The first place of `mask` on a level for which `pick` has something.
    #[inline(always)]
    fn first_on<T>(
        &self,
        level: usize,
        mask: &[u64],
        pick: impl Fn(&Self, PlaceId) -> Option<T>,
    ) -> Option<(PlaceId, T)> {
        self.levels.find(level, mask, |index| pick(self, id(index))).map(|(index, picked)| (id(index), picked))
    }

    /// The best place below a level, by level.
    fn by_level<T>(
        &self,
        top: usize,
        mask: &[u64],
        pick: impl Fn(&Self, PlaceId) -> Option<T>,
    ) -> Option<(PlaceId, T)> {
        let lower = core::iter::successors(self.levels.below(top), |level| self.levels.below(*level));
        lower.into_iter().find_map(|level| self.first_on(level, mask, &pick))
    }

    /// The best place, by looking at every one of a narrow mask.
    #[inline]
    fn one_by_one<T>(&self, mask: &[u64], pick: impl Fn(&Self, PlaceId) -> Option<T>) -> Option<(PlaceId, T)> {
        let mut best = None;
        let mut most = 0;
        for (index, word) in mask.iter().enumerate() {
            for bit in Ascending(*word) {
                let Some(place) = self.places.get(index * 64 + bit) else { break };
                if place.online != 0
                    && place.available > most
                    && let Some(picked) = pick(self, id(index * 64 + bit))
                {
                    (best, most) = (Some((id(index * 64 + bit), picked)), place.available);
                }
            }
        }
        best
    }

    /// Takes a seat; whoever calls has made sure that it is free.
    #[inline(always)]
    pub(crate) fn take(&mut self, seat: &Seat, rank: Rank) {
        match seat.claim {
            Claim::Free if self.places[seat.place.index()].free.remove(seat.vector) => self.recount(seat.place, -1),
            Claim::Free => {}
            Claim::Managed => {
                self.places[seat.place.index()].reserved.remove(seat.vector);
                self.places[seat.place.index()].managed_leases += 1;
            }
        }
        self.hold(seat);
        if seat.standing == Standing::Ordered && seat.claim == Claim::Free {
            self.set_band(seat.place, rank, seat.vector);
        }
    }

    fn hold(&mut self, seat: &Seat) {
        if !self.held.is_empty() {
            for cpu in cpu_ids(self.places[seat.place.index()].first, seat.members) {
                self.held[cpu.index()].insert(seat.vector);
            }
        }
    }

    /// Gives up `members` of a seat; with the last of them the vector is free again, or back in the reservation.
    #[inline(always)]
    pub(crate) fn vacate(&mut self, seat: &mut Seat, members: u64, rank: Rank) {
        if !self.held.is_empty() {
            for cpu in cpu_ids(self.places[seat.place.index()].first, seat.members & members) {
                self.held[cpu.index()].remove(seat.vector);
            }
        }
        seat.members &= !members;
        match seat.claim {
            Claim::Free if seat.members == 0 => self.release_if_unheld(seat.place, seat.vector),
            Claim::Free => {}
            Claim::Managed if seat.members == 0 => {
                self.places[seat.place.index()].reserved.insert(seat.vector);
                self.places[seat.place.index()].managed_leases -= 1;
            }
            Claim::Managed => {}
        }
        if seat.members == 0 && seat.standing == Standing::Ordered && seat.claim == Claim::Free {
            self.clear_band(seat.place, rank, seat.vector);
        }
    }

    /// Gives up the seat of a plain tenant: a free vector of the first member of its place, in order.
    #[inline(always)]
    pub(crate) fn vacate_plain(&mut self, id: PlaceId, vector: Vector, rank: Rank) {
        let (claim, standing) = (Claim::Free, Standing::Ordered);
        self.vacate(&mut Seat { place: id, vector, claim, standing, members: 1 }, u64::MAX, rank);
    }

    #[inline(always)]
    fn release_if_unheld(&mut self, id: PlaceId, vector: Vector) {
        let is_held = !self.held.is_empty() && self.is_held(id, vector);
        if !is_held && self.places[id.index()].free.insert(vector) {
            self.recount(id, 1);
        }
    }

    /// Whether a vector is taken on an online member of a cluster.
    fn is_held(&self, id: PlaceId, vector: Vector) -> bool {
        let place = self.place(id);
        cpu_ids(place.first, place.online)
            .any(|cpu| self.held.get(cpu.index()).is_some_and(|held| held.contains(vector)))
    }

    /// Counts `change` more vectors left and keeps the place on its level.
    #[inline(always)]
    pub(crate) fn recount(&mut self, id: PlaceId, change: i32) {
        let place = &mut self.places[id.index()];
        let (before, after) = (place.available, place.available.saturating_add_signed(change));
        if place.online != 0 {
            place.available = after;
            self.levels.shift(id.index(), before, after);
        } else if place.counted == Counted::Yes {
            place.available = after;
        }
    }

    /// Counts a reservation made (−1) or dropped (+1). `irq_matrix` does so only while the CPU is online, and so do we:
    /// what it makes of the CPU later is part of its decisions.
    pub(crate) fn count_reservation(&mut self, id: PlaceId, change: i32) {
        let place = &mut self.places[id.index()];
        if place.online != 0 {
            self.recount(id, change);
        } else if place.counted == Counted::Yes {
            place.miscount -= change;
        }
    }

    /// Enters a vector in its rank's band, if the policy keeps bands.
    #[inline]
    pub(crate) fn set_band(&mut self, id: PlaceId, rank: Rank, vector: Vector) {
        if let Some(bands) = self.bands.get_mut(id.index()) {
            bands.of_mut(rank).insert(vector);
        }
    }

    /// Takes a vector out of its rank's band, if the policy keeps bands.
    #[inline]
    pub(crate) fn clear_band(&mut self, id: PlaceId, rank: Rank, vector: Vector) {
        if let Some(bands) = self.bands.get_mut(id.index()) {
            bands.of_mut(rank).remove(vector);
        }
    }

    /// Lets `cpu` take interrupts.
    pub(crate) fn bring_online(&mut self, cpu: CpuId) {
        let (id, bit) = (self.place_of(cpu), self.bit_of(cpu));
        self.change_members(id, |online| online | bit);
        self.online.insert(cpu);
    }

    /// Lets `cpu` take none.
    pub(crate) fn take_offline(&mut self, cpu: CpuId) {
        let (id, bit) = (self.place_of(cpu), self.bit_of(cpu));
        self.change_members(id, |online| online & !bit);
        self.online.remove(cpu);
    }

    fn change_members(&mut self, id: PlaceId, change: impl Fn(u64) -> u64) {
        let place = &mut self.places[id.index()];
        if place.online != 0 {
            self.levels.remove(id.index(), place.available);
        }
        place.online = change(place.online);
        if !self.held.is_empty() {
            let held = cpu_ids(place.first, place.online)
                .fold(VectorSet::EMPTY, |all, cpu| all.union(&self.held[cpu.index()]));
            place.free = place.pool.difference(&held).difference(&place.managed);
        }
        if place.counted == Counted::NotYet || !self.held.is_empty() {
            place.available = place.free.len();
            place.counted = Counted::Yes;
            place.miscount = 0;
        }
        if place.online != 0 {
            self.levels.insert(id.index(), place.available);
        }
    }
}
