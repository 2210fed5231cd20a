//! The invariants of a domain's queues.

use hypervisor_abi::Port;
use lock_api::RawMutex;

use super::Fifo;
use crate::event::check::BrokenInvariant;
use crate::event::domain::Domain;
use crate::event::domain::EventAbi;

impl<L: RawMutex> Fifo<L> {
    /// Checks that pages are pinned only while the ABI is in use, and without a gap; and that queues end with ports that
    /// exist. The links themselves are the guest's, and may be anything.
    pub(crate) fn check(&self, domain: &Domain<L>) -> Result<(), BrokenInvariant> {
        let in_use = domain.abi() == EventAbi::Fifo;
        let given = self.pages.iter().take_while(|page| page.pinned().is_some()).count();
        let after_gap = self.pages.iter().skip(given).any(|page| page.pinned().is_some());
        let controls = self.controls.iter().filter(|control| control.pinned().is_some()).count();
        if after_gap || in_use != (controls > 0) || (!in_use && given > 0) {
            return Err(BrokenInvariant::StrayPages(domain.id));
        }
        for queue in self.queues.iter().flat_map(|vcpu| &vcpu.0) {
            let tail = queue.lock().0;
            if tail != Port(0) && (!in_use || domain.ports.get(tail).is_none()) {
                return Err(BrokenInvariant::StrayTail(domain.id, tail));
            }
        }
        Ok(())
    }
}
