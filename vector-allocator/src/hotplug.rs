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
use crate::seat::Claim;
use crate::seat::Moving;
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
        let mut evacuation = Evacuation::default();
        let leases: Vec<Lease> = self.leases.iter().map(|(lease, _)| lease).collect();
        for lease in leases {
            match self.leases.get_mut(lease) {
                Ok(Tenancy::Seated(tenant)) => {
                    let tenant = *tenant;
                    self.evacuate(lease, tenant, cpu, pending, &mut evacuation);
                }
                Ok(Tenancy::Everywhere(notified)) => {
                    notified.holders.remove(cpu);
                    if notified.holders.is_empty() {
                        notified.holders.clone_from(&self.occupancy.online);
                    }
                    let went = notified.target == cpu;
                    if went {
                        notified.target = notified.holders.first().unwrap_or(CpuId::BOOT);
                        evacuation.moved.push(lease);
                    }
                    if went && pending.contains(notified.vector) {
                        let (vector, to) = (notified.vector, notified.target);
                        evacuation.forwards.push(Forward { lease, waited_on: vector, vector, to });
                    }
                }
                Err(_) => {}
            }
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

    /// Moves one lease off `cpu`, if it is on it.
    fn evacuate(&mut self, lease: Lease, mut tenant: Tenant, cpu: CpuId, pending: &VectorSet, out: &mut Evacuation) {
        let (place, bit) = (self.occupancy.place_of(cpu), self.occupancy.bit_of(cpu));
        let mut waited_on = Vec::new();
        if let Some(Moving { mut from, phase }) = tenant.moving
            && from.place == place
            && from.members & bit != 0
        {
            waited_on.push(from.vector);
            self.occupancy.vacate(&mut from, bit, tenant.rank);
            tenant.moving = (from.members != 0).then_some(Moving { from, phase });
        }
        if tenant.seat.place == place && tenant.seat.members & bit != 0 {
            waited_on.push(tenant.seat.vector);
            let (vector, target) = (tenant.seat.vector, tenant.target);
            if self.reseat(lease, &mut tenant, bit) {
                if (tenant.seat.vector, tenant.target) != (vector, target) {
                    out.moved.push(lease);
                }
            } else {
                out.stranded.push(lease);
                waited_on.clear();
            }
        }
        let (vector, to) = (tenant.seat.vector, tenant.target);
        let waiting = waited_on.into_iter().filter(|vector| pending.contains(*vector));
        out.forwards.extend(waiting.map(|waited_on| Forward { lease, waited_on, vector, to }));
        // The lease was looked up to get here, so it is there to be stored.
        let stored = self.settle(lease, tenant);
        debug_assert!(stored.is_ok());
    }

    /// Gives a tenant whose CPU (`bit` of its place) has gone a place to be; whether there was one.
    fn reseat(&mut self, lease: Lease, tenant: &mut Tenant, bit: u64) -> bool {
        let affinity = self.leases.affinity(lease).intersection(&self.occupancy.online);
        let wanted = if affinity.is_empty() { self.occupancy.online.clone() } else { affinity };
        if let Some(target) = self.reachable(&tenant.seat, tenant.target, &wanted) {
            self.occupancy.vacate(&mut tenant.seat, bit, tenant.rank);
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
        match self.offer_again(tenant, &wanted).or_else(|_| self.offer_again(tenant, &anywhere)) {
            Ok(offer) => {
                self.occupancy.take(&offer.seat, tenant.rank);
                self.occupancy.vacate(&mut tenant.seat, u64::MAX, tenant.rank);
                (tenant.seat, tenant.target) = (offer.seat, offer.target);
                true
            }
            Err(_) => {
                self.strand(tenant);
                false
            }
        }
    }

    /// Leaves a tenant on CPUs that have gone. Its vector may be leased to others in its cluster, so it leaves the order.
    fn strand(&mut self, tenant: &mut Tenant) {
        let seat = &mut tenant.seat;
        if seat.standing == Standing::Ordered && seat.claim == Claim::Free {
            self.occupancy.clear_band(seat.place, tenant.rank, seat.vector);
            seat.standing = Standing::Inherited;
        }
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
