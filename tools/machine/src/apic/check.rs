//! Whether engines and processors hold what has come and has not been delivered, and nothing else.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::avic::Residence;
use hypervisor_lib::delivery::posted::PostingHost as _;
use vector_allocator::CpuId;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

use super::ApicSlot;
use super::Ledger;
use super::hypervisor::Hypervisor;
use crate::vcpu::Residency;

impl Hypervisor {
    /// Whether ON is set: a notification is on its way to the pCPU that is to wake the vCPU.
    pub(super) fn is_notified(&self, slot: ApicSlot) -> bool {
        let seat = &self.seats[slot.index()];
        PostedControl::from(seat.posted.descriptor.control.load(Ordering::Relaxed)).outstanding()
    }

    /// Whether hardware that delivers to a vCPU is told where it is (semantics of Xen's posted-interrupt states, APM vol. 2,
    /// 15.29.4.2).
    pub(super) fn is_told(&self, slot: ApicSlot, residency: Residency, cpu: CpuId) -> bool {
        let household = self.view(slot).household;
        if let Some(table) = household.physical_table() {
            let residence = table.residence(ApicId(slot.0 - household.first));
            return match residency {
                Residency::Running => HostApicId::new(cpu.0).is_ok_and(|core| residence == Ok(Residence::On(core))),
                Residency::Runnable | Residency::Blocked => residence == Ok(Residence::Away),
            };
        }
        let control = PostedControl::from(self.seats[slot.index()].posted.descriptor.control.load(Ordering::Relaxed));
        let notifies = |vector: Vector| control.vector() == vector.number() && !control.suppressed();
        !household.posts()
            || match residency {
                Residency::Running => notifies(self.notification) && control.destination() == self.destination(cpu),
                // One that has been woken and has not run yet is told of as if it slept.
                Residency::Runnable => control.suppressed() || notifies(self.wake_up),
                Residency::Blocked => notifies(self.wake_up),
            }
    }

    /// Whether descriptor and page hold exactly what the ledger says. An inbox cannot be looked into.
    pub(super) fn agrees(&self, slot: ApicSlot, ledger: &Ledger, level: &VectorSet) -> bool {
        let seat = &self.seats[slot.index()];
        let posted = seat.posted.descriptor.pir.each_ref().map(|word| word.load(Ordering::Relaxed));
        let posts = self.view(slot).household.posts();
        let posted_holds = !posts || VectorSet::from_words(posted) == ledger.staged().difference(level);
        let page_holds = seat.page.as_ref().is_none_or(|page| {
            let requested = |vector: &Vector| page.0.has(VectorBits::InterruptRequest, vector.number());
            Vector::all().filter(requested).collect::<VectorSet>() == *ledger.requested()
        });
        posted_holds && page_holds
    }
}
