//! What AMD's IOMMU does with an interrupt for a guest's local APIC (AMD I/O Virtualization Technology Specification, 2.2.5).

use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use super::ApicSlot;
use super::hypervisor::Hypervisor;
use super::hypervisor::Request;

impl Hypervisor {
    /// Sets the vector in the backing page. Then, by the entry, the doorbell of the processor that runs the vCPU rings, or the
    /// guest virtual APIC log names it.
    pub(super) fn post_to_page(&self, slot: ApicSlot, vector: Vector, page: &BackingPage, entry: GuestIrteLow) {
        page.set(VectorBits::InterruptRequest, vector.number());
        let request = match (entry.is_running(), entry.logs()) {
            (true, _) => Request::Doorbell(CpuId(entry.destination())),
            (false, true) => Request::Logged(slot),
            (false, false) => return,
        };
        self.requests.borrow_mut().push_back(request);
    }
}
