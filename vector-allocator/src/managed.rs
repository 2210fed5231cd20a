//! Managed sources: vectors reserved on every CPU of a mask, so that a source can never fail to move inside it.
//!
//! The semantics are those of Linux (`irq_matrix_reserve_managed`, `kernel/irq/matrix.c`): a reservation is one vector on
//! each CPU of the mask, online or not; a lease takes one of them on the CPU with the fewest such leases.

use alloc::vec::Vec;

use crate::AllocateError;
use crate::CpuSet;
use crate::Lease;
use crate::Owner;
use crate::Policy;
use crate::Rank;
use crate::SourceKind;
use crate::Vector;
use crate::VectorAllocator;
use crate::VectorSet;
use crate::allocator::Offer;
use crate::seat::Claim;
use crate::seat::PlaceId;

impl VectorAllocator {
    /// Reserves one vector for a managed source on every place of `affinity`, online or not. All or nothing.
    ///
    /// # Errors
    /// [`AllocateError::Full`] or [`AllocateError::OrderBlocks`] name the first CPU without a vector to spare.
    pub fn reserve_managed(&mut self, owner: Owner, kind: SourceKind, affinity: &CpuSet) -> Result<(), AllocateError> {
        let rank = Rank::of(owner, kind, self.ack);
        let places = self.places_of(affinity);
        for place in &places {
            if self.reservable(*place, rank).is_none() {
                return Err(self.unreservable(*place, rank));
            }
        }
        for place in places {
            if let Some(vector) = self.reservable(place, rank) {
                self.reserve(place, rank, vector);
            }
        }
        Ok(())
    }

    /// Drops one reservation that is not leased on every place of `affinity`. All or nothing.
    ///
    /// # Errors
    /// [`AllocateError::NothingReserved`] names the first CPU where there is none.
    pub fn remove_managed(&mut self, owner: Owner, kind: SourceKind, affinity: &CpuSet) -> Result<(), AllocateError> {
        let rank = Rank::of(owner, kind, self.ack);
        let places = self.places_of(affinity);
        if let Some(place) = places.iter().find(|place| self.reserved(**place, rank).is_empty()) {
            return Err(AllocateError::NothingReserved { cpu: self.occupancy.place(*place).first });
        }
        for place in places {
            if let Some(vector) = self.reserved(place, rank).lowest() {
                self.unreserve(place, rank, vector);
            }
        }
        Ok(())
    }

    /// Leases a reserved vector: on the online CPU of `affinity` with the fewest such leases, the last of equals, its
    /// lowest one. A released one goes back to the reservation.
    ///
    /// # Errors
    /// [`AllocateError::NoneOnline`], or [`AllocateError::NothingReserved`] for the CPU whose turn it is.
    pub fn allocate_managed(
        &mut self,
        owner: Owner,
        kind: SourceKind,
        affinity: &CpuSet,
    ) -> Result<Lease, AllocateError> {
        let rank = Rank::of(owner, kind, self.ack);
        let offer = self.offer_managed(rank, affinity)?;
        Ok(self.seat(owner, kind, rank, offer, affinity))
    }

    /// The reserved seat whose turn it is.
    pub(crate) fn offer_managed(&self, rank: Rank, affinity: &CpuSet) -> Result<Offer, AllocateError> {
        let online = self.places_of(&affinity.intersection(&self.occupancy.online));
        // `min_by_key` returns the first of equals, and the kernel's scan ends on the last.
        let turn = online.into_iter().rev().min_by_key(|place| self.occupancy.place(*place).managed_leases);
        let place = turn.ok_or_else(|| AllocateError::NoneOnline { affinity: affinity.clone() })?;
        let vector = self.reserved(place, rank).lowest();
        let vector = vector.ok_or_else(|| AllocateError::NothingReserved { cpu: self.occupancy.place(place).first })?;
        let mut offer = self.offer_at(place, vector, affinity);
        offer.seat.claim = Claim::Managed;
        Ok(offer)
    }

    /// The places of a mask, ascending, each once; CPUs the host does not have are passed over.
    fn places_of(&self, mask: &CpuSet) -> Vec<PlaceId> {
        let mut places: Vec<PlaceId> =
            mask.iter().take_while(|cpu| cpu.0 < self.cpus).map(|cpu| self.occupancy.place_of(cpu)).collect();
        places.dedup();
        places
    }

    /// What is reserved for `rank` and not leased. Only `below-dom0` tells the ranks apart.
    fn reserved(&self, id: PlaceId, rank: Rank) -> VectorSet {
        let reserved = &self.occupancy.place(id).reserved;
        match self.occupancy.bands.get(id.index()) {
            Some(bands) => reserved.intersection(bands.of(rank)),
            None => *reserved,
        }
    }

    /// The vector the next reservation takes: the lowest free one, or under `below-dom0` the rank's next.
    fn reservable(&self, id: PlaceId, rank: Rank) -> Option<Vector> {
        let free = &self.occupancy.place(id).free;
        match self.occupancy.bands.get(id.index()) {
            Some(bands) if self.policy == Policy::BelowDom0 => bands.slot(free, rank, self.guest_floor),
            _ => free.lowest(),
        }
    }

    fn unreservable(&self, id: PlaceId, rank: Rank) -> AllocateError {
        let cpu = self.occupancy.place(id).first;
        let cpus = CpuSet::single(cpu);
        let free = &self.occupancy.place(id).free;
        let nearest = if rank == Rank::Host { free.highest() } else { free.lowest() };
        let bands = self.occupancy.bands.get(id.index());
        match nearest.and_then(|nearest| Some((nearest, bands?.stopper(nearest, rank)?))) {
            Some((nearest, boundary)) => AllocateError::OrderBlocks { rank, cpus, cpu, nearest, boundary },
            None => AllocateError::Full { cpus },
        }
    }

    fn reserve(&mut self, id: PlaceId, rank: Rank, vector: Vector) {
        let place = &mut self.occupancy.places[id.index()];
        place.free.remove(vector);
        place.reserved.insert(vector);
        place.managed.insert(vector);
        self.occupancy.count_reservation(id, -1);
        self.occupancy.set_band(id, rank, vector);
    }

    fn unreserve(&mut self, id: PlaceId, rank: Rank, vector: Vector) {
        let place = &mut self.occupancy.places[id.index()];
        place.reserved.remove(vector);
        place.managed.remove(vector);
        place.free.insert(vector);
        self.occupancy.count_reservation(id, 1);
        self.occupancy.clear_band(id, rank, vector);
    }
}
