//! CPUs that go and come.

use alloc::vec::Vec;

use crate::CpuId;
use crate::HotplugError;
use crate::Lease;
use crate::Vector;
use crate::VectorAllocator;
use crate::VectorSet;
use crate::lease::Tenancy;
use crate::lease::Tenant;
use crate::occupancy::Occupancy;
use crate::seat::Claim;
use crate::seat::Moving;
use crate::seat::Seat;
use crate::seat::Standing;

/// What taking a CPU offline came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evacuation {
    /// Interrupts that waited on the CPU, to be sent again.
    pub forwards: Vec<Forward>,
    /// Leases that have another vector or CPU now, to be programmed.
    pub moved: Vec<Lease>,
    /// Leases for which no online CPU has a vector: their sources are to be silenced until the CPU is back.
    pub stranded: Vec<Lease>,
}

/// An interrupt that waited in the IRR of the CPU that went, and is to be sent to the new destination
/// (Xen: `fixup_irqs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Whose it is.
    pub lease: Lease,
    /// The vector it waited on.
    pub waited_on: Vector,
    /// The vector to send it on.
    pub vector: Vector,
    /// The CPU to send it to.
    pub to: CpuId,
}

impl VectorAllocator {
    /// Takes a CPU out of use. What was sent to it goes elsewhere in its affinity, or where the affinity has no online
    /// CPU left, to any that is; leases that are not sent to it stay where they are. `pending` is its IRR.
    ///
    /// # Errors
    /// [`HotplugError`] if it is not online, or the last one that is.
    pub fn take_offline(&mut self, cpu: CpuId, pending: &VectorSet) -> Result<Evacuation, HotplugError> {
        self.must_be_present(cpu)?;
        if !self.occupancy.online.contains(cpu) {
            return Err(HotplugError::AlreadyOffline { cpu });
        }
        if self.occupancy.online.len() == 1 {
            return Err(HotplugError::LastOnline { cpu });
        }
        self.occupancy.take_offline(cpu);
        self.drop_orphans(cpu);
        // All leave before the first looks for a new seat: in a cluster, what one leaves another may be given.
        let leases: Vec<Lease> = self.leases.iter().map(|(lease, _)| lease).collect();
        let leaving: Vec<Leaver> = leases.into_iter().filter_map(|lease| self.leave(lease, cpu)).collect();
        let mut evacuation = Evacuation::default();
        for leaver in leaving {
            self.resettle(&leaver, pending, &mut evacuation);
        }
        debug_assert_eq!(self.check(), Ok(()));
        Ok(evacuation)
    }

    fn must_be_present(&self, cpu: CpuId) -> Result<(), HotplugError> {
        if cpu.0 < self.cpus { Ok(()) } else { Err(HotplugError::NotPresent { cpu, cpus: self.cpus }) }
    }

    /// Forgets what released leases left on `cpu`: an offline CPU has no IRR to wait for.
    fn drop_orphans(&mut self, cpu: CpuId) {
        let (place, bit) = (self.occupancy.place_of(cpu), self.occupancy.bit_of(cpu));
        for (seat, rank) in self.orphans.iter_mut().filter(|(seat, _)| seat.place == place) {
            self.occupancy.vacate(seat, seat.members & bit, *rank);
        }
        self.orphans.retain(|(seat, _)| seat.members != 0);
    }

    /// Takes what a lease holds on `cpu` from it; none if it holds nothing there.
    fn leave(&mut self, lease: Lease, cpu: CpuId) -> Option<Leaver> {
        let (place, bit) = (self.occupancy.place_of(cpu), self.occupancy.bit_of(cpu));
        let on_cpu = |seat: &Seat| seat.place == place && seat.members & bit != 0;
        let mut leaver = Leaver { lease, cpu, old_vector: None, vector: None };
        match self.leases.get(lease) {
            Ok(Tenancy::Seated(mut tenant)) => {
                if let Some(Moving { from, .. }) = &mut tenant.moving
                    && on_cpu(from)
                {
                    leaver.old_vector = Some(from.vector);
                    self.occupancy.vacate(from, bit, tenant.rank);
                }
                tenant.moving = tenant.moving.filter(|old| old.from.members != 0);
                if on_cpu(&tenant.seat) {
                    leaver.vector = Some(tenant.seat.vector);
                    if tenant.seat.members == bit {
                        strand(&mut self.occupancy, &mut tenant);
                    } else {
                        self.occupancy.vacate(&mut tenant.seat, bit, tenant.rank);
                    }
                }
                self.leases.set(lease, &tenant).ok()?;
            }
            Ok(Tenancy::Everywhere(_)) => {
                let notified = self.leases.notified_mut(lease)?;
                leaver.vector = notified.holders.remove(cpu).then_some(notified.vector);
                if notified.holders.is_empty() {
                    notified.holders.clone_from(&self.occupancy.online);
                }
            }
            Err(_) => {}
        }
        (leaver.vector.is_some() || leaver.old_vector.is_some()).then_some(leaver)
    }

    /// Finds a leaver a new target, and what waited on the CPU its way there.
    fn resettle(&mut self, leaver: &Leaver, pending: &VectorSet, out: &mut Evacuation) {
        let lease = leaver.lease;
        let (before, now) = match self.leases.get(lease) {
            Ok(Tenancy::Seated(mut tenant)) => {
                let before = (tenant.seat.vector, tenant.target);
                if leaver.vector.is_some() && !self.reseat(lease, &mut tenant) {
                    out.stranded.push(lease);
                    return;
                }
                if self.leases.set(lease, &tenant).is_err() {
                    return;
                }
                (before, (tenant.seat.vector, tenant.target))
            }
            Ok(Tenancy::Everywhere(_)) => {
                let Some(notified) = self.leases.notified_mut(lease) else { return };
                let before = (notified.vector, notified.target);
                if notified.target == leaver.cpu {
                    notified.target = notified.holders.first().unwrap_or(CpuId::BOOT);
                }
                (before, (notified.vector, notified.target))
            }
            Err(_) => return,
        };
        if now != before {
            out.moved.push(lease);
        }
        let (vector, to) = now;
        // A vector shared by a cluster may wait on a CPU it was not sent to last; it waits nonetheless.
        let waited =
            [leaver.old_vector, leaver.vector].into_iter().flatten().filter(|waited| pending.contains(*waited));
        out.forwards.extend(waited.map(|waited_on| Forward { lease, waited_on, vector, to }));
    }

    /// Gives a tenant whose CPU has gone a target that is online; whether there was one.
    fn reseat(&mut self, lease: Lease, tenant: &mut Tenant) -> bool {
        let affinity = self.leases.affinity(lease).intersection(&self.occupancy.online);
        let wanted = if affinity.is_empty() { self.occupancy.online.clone() } else { affinity };
        if let Some(target) = self.reachable(&tenant.seat, tenant.target, &wanted) {
            tenant.target = target;
            return true;
        }
        // The new place has gone before the move was over: the old one, still live, takes the interrupt back.
        if let Some(Moving { from, .. }) = tenant.moving
            && let Some(target) = self.reachable(&from, tenant.target, &wanted)
        {
            self.occupancy.vacate(&mut tenant.seat, u64::MAX, tenant.rank);
            *tenant = Tenant { seat: from, target, moving: None, ..*tenant };
            return true;
        }
        let anywhere = self.occupancy.online.clone();
        let Ok(offer) = self.offer_again(tenant, &wanted).or_else(|_| self.offer_again(tenant, &anywhere)) else {
            // Out of its affinity, but on its old vector, is better than nowhere.
            let target = self.reachable(&tenant.seat, tenant.target, &anywhere);
            tenant.target = target.unwrap_or(tenant.target);
            return target.is_some();
        };
        self.occupancy.take(&offer.seat, tenant.rank);
        self.occupancy.vacate(&mut tenant.seat, u64::MAX, tenant.rank);
        (tenant.seat, tenant.target) = (offer.seat, offer.target);
        true
    }

    /// Puts a CPU into use. Nothing moves to it by itself; stranded leases on it work again.
    ///
    /// # Errors
    /// [`HotplugError`] if the host does not have it or it is online already.
    pub fn bring_online(&mut self, cpu: CpuId) -> Result<(), HotplugError> {
        self.must_be_present(cpu)?;
        if self.occupancy.online.contains(cpu) {
            return Err(HotplugError::AlreadyOnline { cpu });
        }
        self.occupancy.bring_online(cpu);
        debug_assert_eq!(self.check(), Ok(()));
        Ok(())
    }
}

/// A lease that held something on the CPU that went.
struct Leaver {
    lease: Lease,
    cpu: CpuId,
    /// The vector a move left there.
    old_vector: Option<Vector>,
    /// The vector it has now, if that was taken there.
    vector: Option<Vector>,
}

/// Leaves a tenant with a seat on CPUs that have gone. Others in its cluster may be given the vector, so it leaves the
/// order.
fn strand(occupancy: &mut Occupancy, tenant: &mut Tenant) {
    let seat = &mut tenant.seat;
    if seat.standing == Standing::Ordered && seat.claim == Claim::Free {
        occupancy.clear_band(seat.place, tenant.rank, seat.vector);
        seat.standing = Standing::Inherited;
    }
}
