//! Gives host vectors out on lease, and takes them back.

use alloc::vec::Vec;

use crate::AdoptError;
use crate::AllocateError;
use crate::CpuId;
use crate::CpuSet;
use crate::DestinationModel;
use crate::Holders;
use crate::HostError;
use crate::IoApicAck;
use crate::Lease;
use crate::MovingFrom;
use crate::Owner;
use crate::Placement;
use crate::Policy;
use crate::Rank;
use crate::SourceKind;
use crate::StaleLease;
use crate::Vector;
use crate::VectorLayout;
use crate::VectorSet;
use crate::bands::floor;
use crate::cursor::Cursor;
use crate::lease::Leases;
use crate::lease::Notified;
use crate::lease::Tenancy;
use crate::lease::Tenant;
use crate::levels::Levels;
use crate::occupancy::Occupancy;
use crate::seat::Claim;
use crate::seat::PlaceId;
use crate::seat::Seat;
use crate::seat::Standing;
use crate::slot::Plain;

/// The arbiter of a host's vectors.
///
/// ```
/// use vector_allocator::{
///     CpuSet, DestinationModel, DomainId, IoApicAck, Owner, Policy, SourceKind, VectorAllocator, VectorLayout, XenLayout,
/// };
///
/// let layout = VectorLayout::xen(XenLayout::default());
/// let all = CpuSet::first_n(4);
/// let mut arbiter =
///     VectorAllocator::new(layout, DestinationModel::Physical, 4, &all, Policy::BelowDom0, IoApicAck::New)?;
/// let nic = arbiter.allocate(Owner::Guest(DomainId(1)), SourceKind::EdgeMaskable, &all)?;
/// let sas = arbiter.allocate(Owner::Dom0, SourceKind::EdgeMaskable, &all)?;
/// let (nic, sas) = (arbiter.placement(nic)?, arbiter.placement(sas)?);
/// assert!(sas.vector.outranks(nic.vector));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct VectorAllocator {
    pub(crate) layout: VectorLayout,
    pub(crate) policy: Policy,
    pub(crate) ack: IoApicAck,
    pub(crate) cpus: u32,
    pub(crate) occupancy: Occupancy,
    pub(crate) leases: Leases,
    /// Seats whose leases were released while the seat drained.
    pub(crate) orphans: Vec<(Seat, Rank)>,
    /// Notification vectors in use.
    pub(crate) notifying: VectorSet,
    pub(crate) cursor: Cursor,
    pub(crate) guest_floor: Vector,
}

/// A seat that could be taken, and the CPU in it that would be the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) seat: Seat,
    pub(crate) target: CpuId,
}

impl VectorAllocator {
    /// The most CPUs a host may have.
    #[expect(clippy::cast_possible_truncation, reason = "4096")]
    pub const MAX_CPUS: u32 = Levels::MAX_PLACES as u32;

    /// An arbiter of a host with `cpus` CPUs of which `online` can take interrupts.
    ///
    /// # Errors
    /// [`HostError`] for a machine that cannot be.
    pub fn new(
        layout: VectorLayout,
        model: DestinationModel,
        cpus: u32,
        online: &CpuSet,
        policy: Policy,
        ack: IoApicAck,
    ) -> Result<Self, HostError> {
        if cpus == 0 || cpus > Self::MAX_CPUS {
            return Err(HostError::CpuCount { cpus, limit: Self::MAX_CPUS });
        }
        if let DestinationModel::Logical { cluster_size } = model
            && !(1..=u64::BITS).contains(&cluster_size)
        {
            return Err(HostError::ClusterSize { cluster_size });
        }
        if let Some(cpu) = online.iter().find(|cpu| cpu.0 >= cpus) {
            return Err(HostError::NotPresent { cpu, cpus });
        }
        let mut occupancy = Occupancy::new(&layout, model, cpus, policy);
        for cpu in online.iter() {
            occupancy.bring_online(cpu);
        }
        let pool = *layout.leasable(CpuId(1));
        Ok(Self {
            policy,
            ack,
            cpus,
            occupancy,
            leases: Leases::new(cpus, model.cluster(CpuId::BOOT).1),
            orphans: Vec::new(),
            notifying: VectorSet::EMPTY,
            cursor: Cursor::new(&pool),
            guest_floor: floor(&pool),
            layout,
        })
    }

    /// Gives a source a vector on one place of `affinity`, chosen by the policy.
    ///
    /// A [`SourceKind::Notification`] gets one of the vectors reserved on every CPU instead; its `affinity` only says
    /// which CPUs use it.
    ///
    /// # Errors
    /// [`AllocateError`] says what ran out, and where.
    pub fn allocate(&mut self, owner: Owner, kind: SourceKind, affinity: &CpuSet) -> Result<Lease, AllocateError> {
        match kind {
            SourceKind::Posted => Err(AllocateError::NoVectorNeeded),
            SourceKind::Notification => self.allocate_everywhere(owner, affinity),
            SourceKind::EdgeMaskable | SourceKind::EdgeUnmaskable | SourceKind::Level => {
                let rank = Rank::of(owner, kind, self.ack);
                let offer = self.offer(rank, affinity)?;
                Ok(self.seat(owner, kind, rank, offer, affinity))
            }
        }
    }

    fn allocate_everywhere(&mut self, owner: Owner, affinity: &CpuSet) -> Result<Lease, AllocateError> {
        let holders = affinity.intersection(&self.occupancy.online);
        let target = holders.first().ok_or_else(|| AllocateError::NoneOnline { affinity: affinity.clone() })?;
        let band = self.layout.notification();
        let vector = band
            .difference(&self.notifying)
            .lowest()
            .ok_or(AllocateError::NotificationsExhausted { count: band.len() })?;
        self.notifying.insert(vector);
        let kind = SourceKind::Notification;
        Ok(self.leases.insert_everywhere(Notified { owner, kind, vector, target, holders }, affinity))
    }

    /// Takes a seat for a new lease.
    #[inline(always)]
    pub(crate) fn seat(
        &mut self,
        owner: Owner,
        kind: SourceKind,
        rank: Rank,
        offer: Offer,
        affinity: &CpuSet,
    ) -> Lease {
        let Offer { seat, target } = offer;
        self.occupancy.take(&seat, rank);
        self.leases.insert(&Tenant { owner, kind, rank, target, seat, moving: None }, affinity)
    }

    /// The seat the policy chooses; nothing is taken yet but the cursor's step.
    #[inline(always)]
    pub(crate) fn offer(&mut self, rank: Rank, affinity: &CpuSet) -> Result<Offer, AllocateError> {
        let found = match self.policy {
            Policy::XenCursor => self.next_by_cursor(affinity),
            // The emptiest by count: if that one has nothing after all, `irq_matrix` gives up, and so do we.
            Policy::Spread => self
                .occupancy
                .emptiest(affinity, |occupancy, place| Some(occupancy.place(place).free.lowest()))
                .and_then(|(place, vector)| Some((place, vector?))),
            Policy::BelowDom0 => self.in_order(rank, affinity),
        };
        match found {
            Some((place, vector)) => Ok(self.offer_at(place, vector, affinity)),
            None => Err(self.refusal(rank, affinity)),
        }
    }

    /// Xen's rule: CPUs in the order of the mask, vectors in the order of the cursor.
    fn next_by_cursor(&mut self, affinity: &CpuSet) -> Option<(PlaceId, Vector)> {
        let online = affinity.iter().filter(|cpu| self.occupancy.online.contains(*cpu));
        let (place, vector, cursor) = online
            .map(|cpu| self.occupancy.place_of(cpu))
            .find_map(|place| self.cursor.probe(&self.occupancy.place(place).free).map(|(v, at)| (place, v, at)))?;
        self.cursor = cursor;
        Some((place, vector))
    }

    /// Our rule: the emptiest place that has a vector where the order admits one.
    fn in_order(&mut self, rank: Rank, affinity: &CpuSet) -> Option<(PlaceId, Vector)> {
        let floor = self.guest_floor;
        self.occupancy.emptiest(affinity, |occupancy, place| {
            occupancy.bands.get(place.index())?.slot(&occupancy.place(place).free, rank, floor)
        })
    }

    /// The seat of `vector` on all online members of `place`; its target is the first of them in `affinity`.
    #[inline]
    pub(crate) fn offer_at(&self, id: PlaceId, vector: Vector, affinity: &CpuSet) -> Offer {
        let place = self.occupancy.place(id);
        let wanted = match self.occupancy.model {
            DestinationModel::Physical => 0,
            DestinationModel::Logical { .. } => self.occupancy.within(id, place.online, affinity),
        };
        let target = CpuId(place.first.0 + if wanted == 0 { 0 } else { wanted.trailing_zeros() });
        let seat = Seat { place: id, vector, claim: Claim::Free, standing: Standing::Ordered, members: place.online };
        Offer { seat, target }
    }

    /// Why no place of `affinity` has a vector for `rank`.
    #[cold]
    fn refusal(&self, rank: Rank, affinity: &CpuSet) -> AllocateError {
        let cpus = affinity.intersection(&self.occupancy.online);
        if cpus.is_empty() {
            return AllocateError::NoneOnline { affinity: affinity.clone() };
        }
        let stopped = cpus.iter().find_map(|cpu| {
            let place = self.occupancy.place_of(cpu);
            let free = &self.occupancy.place(place).free;
            let nearest = if rank == Rank::Host { free.highest() } else { free.lowest() }?;
            let boundary = self.occupancy.bands.get(place.index())?.stopper(nearest, rank)?;
            Some((cpu, nearest, boundary))
        });
        match stopped {
            Some((cpu, nearest, boundary)) => AllocateError::OrderBlocks { rank, cpus, cpu, nearest, boundary },
            None => AllocateError::Full { cpus },
        }
    }

    /// Takes over an assignment found on a host: `vector` taken on `holders`, sent to `target`. Under `below-dom0` one
    /// that breaks the order is inherited: the bands pass it over until it is moved or released.
    ///
    /// # Errors
    /// [`AdoptError`] says what contradicts the layout, the CPUs or what was taken over before.
    pub fn adopt(
        &mut self,
        owner: Owner,
        kind: SourceKind,
        vector: Vector,
        holders: &CpuSet,
        target: CpuId,
    ) -> Result<Lease, AdoptError> {
        let first = holders.first().ok_or(AdoptError::NoHolder { vector })?;
        if kind == SourceKind::Posted {
            return Err(AdoptError::NoVectorNeeded);
        }
        if !holders.contains(target) {
            return Err(AdoptError::TargetHoldsNot { vector, target });
        }
        if let Some(cpu) = holders.iter().find(|cpu| !self.occupancy.online.contains(*cpu)) {
            return Err(AdoptError::Offline { vector, cpu });
        }
        if self.layout.notification().contains(vector) {
            if !self.notifying.insert(vector) {
                return Err(AdoptError::Taken { vector, cpu: first });
            }
            let notified = Notified { owner, kind, vector, target, holders: holders.clone() };
            return Ok(self.leases.insert_everywhere(notified, holders));
        }
        let seat = self.adopted_seat(vector, holders, first)?;
        let rank = Rank::of(owner, kind, self.ack);
        let ordered = self.occupancy.place(seat.place).free.contains(vector)
            && self.occupancy.bands.get(seat.place.index()).is_none_or(|bands| bands.stopper(vector, rank).is_none());
        let standing = if ordered { Standing::Ordered } else { Standing::Inherited };
        Ok(self.seat(owner, kind, rank, Offer { seat: Seat { standing, ..seat }, target }, holders))
    }

    fn adopted_seat(&self, vector: Vector, holders: &CpuSet, first: CpuId) -> Result<Seat, AdoptError> {
        let id = self.occupancy.place_of(first);
        let place = self.occupancy.place(id);
        if holders.iter().any(|cpu| self.occupancy.place_of(cpu) != id) {
            return Err(AdoptError::TooWide { vector, holders: holders.clone() });
        }
        if !place.pool.contains(vector) {
            return Err(AdoptError::NotLeasable { vector, cpu: first });
        }
        let taken = |cpu: &CpuId| match self.occupancy.held.get(cpu.index()) {
            Some(held) => held.contains(vector) || place.managed.contains(vector),
            None => !place.free.contains(vector),
        };
        if let Some(cpu) = holders.iter().find(taken) {
            return Err(AdoptError::Taken { vector, cpu });
        }
        let members = self.occupancy.within(id, place.online, holders);
        Ok(Seat { place: id, vector, claim: Claim::Free, standing: Standing::Ordered, members })
    }

    /// Where a lease's interrupt goes.
    ///
    /// # Errors
    /// [`StaleLease`] if it was released.
    pub fn placement(&self, lease: Lease) -> Result<Placement<'_>, StaleLease> {
        Ok(match self.leases.get(lease)? {
            Tenancy::Seated(tenant) => Placement {
                vector: tenant.seat.vector,
                target: tenant.target,
                holders: self.holders(&tenant.seat),
                moving_from: tenant
                    .moving
                    .as_ref()
                    .map(|old| MovingFrom { vector: old.from.vector, holders: self.holders(&old.from) }),
            },
            Tenancy::Everywhere(notified) => Placement {
                vector: notified.vector,
                target: notified.target,
                holders: Holders::set(&notified.holders),
                moving_from: None,
            },
        })
    }

    /// The CPUs on which a seat's vector is taken.
    pub(crate) fn holders(&self, seat: &Seat) -> Holders<'static> {
        Holders::cluster(self.occupancy.place(seat.place).first, seat.members)
    }

    /// Takes a lease back; its source has been silenced. If it was moving, the old vector stays taken until
    /// [`clean_up`](Self::clean_up) finds it drained, so that nobody gets a vector an old interrupt can still arrive on.
    ///
    /// # Errors
    /// [`StaleLease`] if it was released before.
    pub fn release(&mut self, lease: Lease) -> Result<(), StaleLease> {
        if let Some(Plain { place, vector, rank, .. }) = self.leases.plain(lease) {
            self.leases.end(lease);
            self.occupancy.vacate_plain(place, vector, rank);
            return Ok(());
        }
        match self.leases.get(lease)? {
            Tenancy::Seated(Tenant { mut seat, rank, moving, .. }) => {
                if let Some(old) = moving {
                    self.orphans.push((old.from, rank));
                }
                self.occupancy.vacate(&mut seat, u64::MAX, rank);
            }
            Tenancy::Everywhere(notified) => {
                self.notifying.remove(notified.vector);
            }
        }
        self.leases.end(lease);
        Ok(())
    }

    /// Whose a lease is, and how its source signals.
    ///
    /// # Errors
    /// [`StaleLease`] if it was released.
    pub fn tenant(&self, lease: Lease) -> Result<(Owner, SourceKind), StaleLease> {
        Ok(match self.leases.get(lease)? {
            Tenancy::Seated(tenant) => (tenant.owner, tenant.kind),
            Tenancy::Everywhere(notified) => (notified.owner, notified.kind),
        })
    }

    /// All leases in force, by slot.
    pub fn leases(&self) -> impl Iterator<Item = Lease> + '_ {
        self.leases.iter().map(|(lease, _)| lease)
    }

    /// The CPUs that can take interrupts.
    #[must_use]
    pub const fn online(&self) -> &CpuSet {
        &self.occupancy.online
    }
}
