//! All invariants of the allocator in one place.

use alloc::vec;
use alloc::vec::Vec;

use crate::CpuId;
use crate::Lease;
use crate::Rank;
use crate::Vector;
use crate::VectorAllocator;
use crate::VectorSet;
use crate::bands::Bands;
use crate::lease::Tenancy;
use crate::occupancy::Counted;
use crate::occupancy::Place;
use crate::seat::Claim;
use crate::seat::Moving;
use crate::seat::PlaceId;
use crate::seat::Seat;
use crate::seat::Standing;
use crate::seat::cpu_ids;

/// An invariant that does not hold: an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Two holders of one vector on one CPU, or of one notification vector.
    #[error("vector {vector} is leased twice on CPU {cpu}")]
    LeasedTwice {
        /// The vector.
        vector: Vector,
        /// The CPU.
        cpu: CpuId,
    },
    /// A vector outside what the layout lets be leased.
    #[error("vector {vector} is leased on CPU {cpu} against the layout")]
    OutsidePool {
        /// The vector.
        vector: Vector,
        /// The CPU.
        cpu: CpuId,
    },
    /// The table of what is taken or reserved disagrees with the leases.
    #[error("the table of CPU {cpu} disagrees with the leases")]
    Table {
        /// The first CPU of the place.
        cpu: CpuId,
    },
    /// The count of vectors left, or the index of CPUs by it, is off.
    #[error("CPU {cpu} has {free} vectors left, but the count says {available}")]
    Count {
        /// The first CPU of the place.
        cpu: CpuId,
        /// Free vectors.
        free: u32,
        /// The count.
        available: u32,
    },
    /// A lease is sent to a CPU that does not hold its vector.
    #[error("lease {lease} is sent to CPU {target}, where its vector is not taken")]
    Target {
        /// The lease.
        lease: Lease,
        /// The CPU.
        target: CpuId,
    },
    /// Two vectors leased under `below-dom0` stand in the wrong order.
    #[error("on CPU {cpu} vector {low} should be below {high}")]
    Order {
        /// The first CPU of the place.
        cpu: CpuId,
        /// The vector of the lower band.
        low: Vector,
        /// The vector of the higher band.
        high: Vector,
    },
}

/// What the leases say the tables should be.
struct Ledger {
    /// Per CPU, what is held on it.
    held: Vec<VectorSet>,
    /// Per place, what is leased in order.
    bands: Vec<Bands>,
    /// Per place, what is leased out of reservations.
    managed: Vec<VectorSet>,
}

impl VectorAllocator {
    /// Checks every invariant against the leases: no vector twice on a CPU, none outside the layout, tables, counts and
    /// index as the leases have it, targets among the holders, and the order of `below-dom0` wherever it was not
    /// inherited. Costs time in proportion to everything.
    ///
    /// # Errors
    /// The first one [`Broken`].
    pub fn check(&self) -> Result<(), Broken> {
        let ledger = self.ledger()?;
        for (index, place) in (0..).zip(&self.occupancy.places) {
            self.check_place(PlaceId(index), place, &ledger)?;
        }
        self.check_notifications()
    }

    fn ledger(&self) -> Result<Ledger, Broken> {
        let places = self.occupancy.places.len();
        let mut ledger = Ledger {
            held: vec![VectorSet::EMPTY; self.cpus as usize],
            bands: vec![Bands::EMPTY; places],
            managed: vec![VectorSet::EMPTY; places],
        };
        for (seat, rank) in &self.orphans {
            self.enter(seat, *rank, &mut ledger)?;
        }
        for (lease, tenancy) in self.leases.iter() {
            let Tenancy::Seated(tenant) = tenancy else { continue };
            self.enter(&tenant.seat, tenant.rank, &mut ledger)?;
            if let Some(Moving { from, .. }) = &tenant.moving {
                self.enter(from, tenant.rank, &mut ledger)?;
            }
            if !self.holders(&tenant.seat).contains(tenant.target) {
                return Err(Broken::Target { lease, target: tenant.target });
            }
        }
        Ok(ledger)
    }

    fn enter(&self, seat: &Seat, rank: Rank, ledger: &mut Ledger) -> Result<(), Broken> {
        let place = self.occupancy.place(seat.place);
        let vector = seat.vector;
        if !place.pool.contains(vector) {
            return Err(Broken::OutsidePool { vector, cpu: place.first });
        }
        for cpu in cpu_ids(place.first, seat.members) {
            let held = ledger.held.get_mut(cpu.index());
            if !held.is_some_and(|held| held.insert(vector)) {
                return Err(Broken::LeasedTwice { vector, cpu });
            }
        }
        match (seat.claim, seat.standing) {
            (Claim::Managed, _) => {
                ledger.managed[seat.place.index()].insert(vector);
            }
            (Claim::Free, Standing::Ordered) => {
                ledger.bands[seat.place.index()].of_mut(rank).insert(vector);
            }
            (Claim::Free, Standing::Inherited) => {}
        }
        Ok(())
    }

    fn check_place(&self, id: PlaceId, place: &Place, ledger: &Ledger) -> Result<(), Broken> {
        let cpu = place.first;
        let members = |index: u32| CpuId(place.first.0 + index);
        let width = self.occupancy.model.cluster(cpu).1;
        let online = cpu_ids(cpu, place.online).fold(VectorSet::EMPTY, |all, cpu| all.union(&ledger.held[cpu.index()]));
        let per_cpu = self.occupancy.held.is_empty();
        // Alone in its place, a CPU keeps its table while it is offline; in a cluster only online members count.
        let taken = if per_cpu { ledger.held[cpu.index()] } else { online };
        let tables = (0..width)
            .map(members)
            .filter(|cpu| cpu.0 < self.cpus)
            .all(|cpu| self.occupancy.held.get(cpu.index()).is_none_or(|held| *held == ledger.held[cpu.index()]));
        let leased_of_managed = place.managed.difference(&place.reserved);
        let free = place.pool.difference(&taken).difference(&place.managed);
        if !tables
            || place.free != free
            || place.reserved != place.managed.difference(&ledger.managed[id.index()])
            || leased_of_managed.len() != place.managed_leases
        {
            return Err(Broken::Table { cpu });
        }
        self.check_count(id, place)?;
        self.check_order(id, place, ledger)
    }

    fn check_count(&self, id: PlaceId, place: &Place) -> Result<(), Broken> {
        let (free, available) = (place.free.len(), place.available);
        let counted =
            place.counted == Counted::NotYet || i64::from(available) == i64::from(free) + i64::from(place.miscount);
        let level = (place.online != 0).then_some(available);
        if counted && self.occupancy.levels.holds_only(id.index(), level) {
            Ok(())
        } else {
            Err(Broken::Count { cpu: place.first, free, available })
        }
    }

    fn check_order(&self, id: PlaceId, place: &Place, ledger: &Ledger) -> Result<(), Broken> {
        let Some(bands) = self.occupancy.bands.get(id.index()) else { return Ok(()) };
        let ranks = [Rank::Retaining, Rank::Guest, Rank::Host];
        let leased = &ledger.bands[id.index()];
        let agrees = ranks.iter().all(|rank| bands.of(*rank).difference(&place.managed) == *leased.of(*rank));
        if !agrees {
            return Err(Broken::Table { cpu: place.first });
        }
        match bands.disorder() {
            Some((low, high)) => Err(Broken::Order { cpu: place.first, low, high }),
            None => Ok(()),
        }
    }

    fn check_notifications(&self) -> Result<(), Broken> {
        let mut seen = VectorSet::EMPTY;
        for (lease, tenancy) in self.leases.iter() {
            let Tenancy::Everywhere(notified) = tenancy else { continue };
            let (vector, cpu) = (notified.vector, notified.target);
            if !seen.insert(vector) {
                return Err(Broken::LeasedTwice { vector, cpu });
            }
            if !self.layout.notification().contains(vector) {
                return Err(Broken::OutsidePool { vector, cpu });
            }
            if !notified.holders.contains(cpu) || !notified.holders.is_subset(&self.occupancy.online) {
                return Err(Broken::Target { lease, target: cpu });
            }
        }
        if seen == self.notifying { Ok(()) } else { Err(Broken::Table { cpu: CpuId::BOOT }) }
    }
}
