//! Whether engines and processors hold what has come and has not been delivered, and nothing else.

use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::sync::Ordering;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

use super::ApicSlot;
use super::Ledger;
use super::hypervisor::Hypervisor;

impl Hypervisor {
    /// Whether ON is set: a notification is on its way to the pCPU that is to wake the vCPU.
    pub(super) fn is_notified(&self, slot: ApicSlot) -> bool {
        let seat = &self.seats[slot.index()];
        PostedControl::from(seat.posted.descriptor.control.load(Ordering::Relaxed)).outstanding()
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
