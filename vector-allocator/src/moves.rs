//! Moving a lease: the new vector is taken, the old one stays live until the last interrupt sent to it has been served.
//!
//! ```text
//!   settled ──begin_move──► programmed ──finish_move──► draining ──finish_move, clean_up──► settled
//!      ▲   (same place: at once)   │   (nothing pending)    ▲ │                               ▲
//!      └───────────────────────────┘                        └─┘ an old CPU still has it pending
//!                                  └──────────────────────────────────────────────────────────┘
//! ```
//!
//! Until its old vector is given up, a programmed move can be [turned round](VectorAllocator::turn_back): the two vectors
//! change places, and the new one drains.

use crate::AllocateError;
use crate::CpuId;
use crate::CpuSet;
use crate::FinishError;
use crate::Holders;
use crate::Lease;
use crate::MoveError;
use crate::StaleLease;
use crate::TurnBackError;
use crate::Vector;
use crate::VectorAllocator;
use crate::VectorSet;
use crate::allocator::Offer;
use crate::lease::Tenancy;
use crate::lease::Tenant;
use crate::seat::Claim;
use crate::seat::Moving;
use crate::seat::Phase;
use crate::seat::Seat;

/// What a move came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The vector stays: it is already taken where the interrupt goes now. The move is over.
    Kept {
        /// The CPU to program as the destination.
        target: CpuId,
    },
    /// There is a new vector to program; the old one stays live until [`VectorAllocator::finish_move`].
    Started {
        /// The new vector.
        vector: Vector,
        /// Its CPU.
        target: CpuId,
        /// The vector that is to drain.
        from: Vector,
    },
}

/// How far the old vector of a move is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// It is free everywhere.
    Done,
    /// It still waits on these CPUs, and stays taken there.
    Waiting(Holders<'static>),
}

impl VectorAllocator {
    /// Begins to move a lease to `affinity`. A lease whose vector is already taken on an online CPU of `affinity` keeps
    /// it, as do notifications: only the destination changes. Anything else draws a vector by the policy.
    ///
    /// # Errors
    /// [`MoveError::InFlight`] while the move before drains; [`MoveError::NoVector`] if there is nowhere to go. The
    /// lease then stays as it was.
    pub fn begin_move(&mut self, lease: Lease, affinity: &CpuSet) -> Result<Move, MoveError> {
        let Tenancy::Seated(tenant) = self.leases.get(lease)? else {
            return self.renotify(lease, affinity);
        };
        if let Some(target) = self.reachable(&tenant.seat, tenant.target, affinity) {
            self.leases.set(lease, &Tenant { target, ..tenant })?;
            self.leases.set_affinity(lease, affinity);
            return Ok(Move::Kept { target });
        }
        if let Some(old) = tenant.moving {
            return Err(MoveError::InFlight { lease, draining: old.from.vector });
        }
        let offer = self.offer_again(&tenant, affinity).map_err(|source| MoveError::NoVector { lease, source })?;
        self.occupancy.take(&offer.seat, tenant.rank);
        let mut from = tenant.seat;
        let old_online = self.occupancy.place(from.place).online & from.members;
        if old_online != from.members {
            self.occupancy.vacate(&mut from, !old_online, tenant.rank);
        }
        let moving = (old_online != 0).then_some(Moving { from, phase: Phase::Programmed });
        self.leases.set(lease, &Tenant { target: offer.target, seat: offer.seat, moving, ..tenant })?;
        self.leases.set_affinity(lease, affinity);
        Ok(Move::Started { vector: offer.seat.vector, target: offer.target, from: tenant.seat.vector })
    }

    /// Turns a lease that is moving round: its old vector, still live, is its own again, and the new one is to drain until
    /// [`finish_move`](Self::finish_move). What was programmed is to be programmed back.
    ///
    /// # Errors
    /// [`TurnBackError`] if there is no move to take back, or it is no longer to be.
    pub fn turn_back(&mut self, lease: Lease, affinity: &CpuSet) -> Result<Move, TurnBackError> {
        let Tenancy::Seated(tenant) = self.leases.get(lease)? else {
            return Err(TurnBackError::NotMoving { lease });
        };
        let Some(Moving { from, phase }) = tenant.moving else {
            return Err(TurnBackError::NotMoving { lease });
        };
        if phase == Phase::Draining {
            return Err(TurnBackError::GivenUp { lease, old: from.vector });
        }
        let everywhere = &self.occupancy.online;
        let target = self.reachable(&from, tenant.target, affinity);
        let target = target.or_else(|| self.reachable(&from, tenant.target, everywhere));
        let target = target.ok_or(TurnBackError::GivenUp { lease, old: from.vector })?;
        let moving = Some(Moving { from: tenant.seat, phase: Phase::Programmed });
        self.leases.set(lease, &Tenant { target, seat: from, moving, ..tenant })?;
        self.leases.set_affinity(lease, affinity);
        Ok(Move::Started { vector: from.vector, target, from: tenant.seat.vector })
    }

    /// The online CPU of `affinity` where a seat's vector is already taken: the present target if that is one.
    #[inline(always)]
    pub(crate) fn reachable(&self, seat: &Seat, target: CpuId, affinity: &CpuSet) -> Option<CpuId> {
        let place = self.occupancy.place(seat.place);
        let members = self.occupancy.within(seat.place, place.online & seat.members, affinity);
        let wanted = Holders::cluster(place.first, members);
        if wanted.contains(target) { Some(target) } else { wanted.iter().next() }
    }

    /// A seat for a tenant that must leave its own: out of the reservations if that is where it came from.
    #[inline(always)]
    pub(crate) fn offer_again(&mut self, tenant: &Tenant, affinity: &CpuSet) -> Result<Offer, AllocateError> {
        match tenant.seat.claim {
            Claim::Free => self.offer(tenant.rank, affinity),
            Claim::Managed => self.offer_managed(tenant.rank, affinity),
        }
    }

    /// Moves a notification: its vector is reserved everywhere, so only the CPUs that use it change.
    fn renotify(&mut self, lease: Lease, affinity: &CpuSet) -> Result<Move, MoveError> {
        let notified = self.leases.notified_mut(lease).ok_or(StaleLease { lease })?;
        let holders = affinity.intersection(&self.occupancy.online);
        let Some(first) = holders.first() else {
            let source = AllocateError::NoneOnline { affinity: affinity.clone() };
            return Err(MoveError::NoVector { lease, source });
        };
        let target = if holders.contains(notified.target) { notified.target } else { first };
        notified.target = target;
        notified.holders = holders;
        self.leases.set_affinity(lease, affinity);
        Ok(Move::Kept { target })
    }

    /// Says that the first interrupt has arrived on the new CPU: the old vector is freed on every old CPU but those in
    /// `still_pending`, whose IRR shows it. To be repeated for those.
    ///
    /// # Errors
    /// [`FinishError`] if the lease is stale or not moving.
    pub fn finish_move(&mut self, lease: Lease, still_pending: &CpuSet) -> Result<Drain, FinishError> {
        let Tenancy::Seated(tenant @ Tenant { rank, moving: Some(Moving { mut from, .. }), .. }) =
            self.leases.get(lease)?
        else {
            return Err(FinishError::NotMoving { lease });
        };
        let waiting = self.occupancy.within(from.place, from.members, still_pending);
        self.occupancy.vacate(&mut from, !waiting, rank);
        if waiting == 0 {
            self.leases.set(lease, &Tenant { moving: None, ..tenant })?;
            return Ok(Drain::Done);
        }
        let moving = Some(Moving { from, phase: Phase::Draining });
        self.leases.set(lease, &Tenant { moving, ..tenant })?;
        Ok(Drain::Waiting(self.holders(&from)))
    }

    /// What Xen's cleanup interrupt does on `cpu`: frees every vector there that a finished move or a release left
    /// behind and that is not in `pending`, the CPU's IRR. Vectors nobody moved away from are none of its business.
    /// Returns how many it freed.
    pub fn clean_up(&mut self, cpu: CpuId, pending: &VectorSet) -> usize {
        if cpu.0 >= self.cpus {
            return 0;
        }
        let (place, bit) = (self.occupancy.place_of(cpu), self.occupancy.bit_of(cpu));
        let drains = |seat: &Seat| seat.place == place && seat.members & bit != 0 && !pending.contains(seat.vector);
        let mut freed = 0;
        for (seat, rank) in self.orphans.iter_mut().filter(|(seat, _)| drains(seat)) {
            self.occupancy.vacate(seat, bit, *rank);
            freed += 1;
        }
        self.orphans.retain(|(seat, _)| seat.members != 0);
        for (lease, mut tenant) in self.leases.moving() {
            if let Some(Moving { from, phase: Phase::Draining }) = &mut tenant.moving
                && drains(from)
            {
                self.occupancy.vacate(from, bit, tenant.rank);
                freed += 1;
                tenant.moving = tenant.moving.filter(|old| old.from.members != 0);
                // The lease was listed just now, so it is in force.
                let stored = self.leases.set(lease, &tenant);
                debug_assert_eq!(stored, Ok(()));
            }
        }
        freed
    }
}
