//! The page that tells which physical IRQs need an EOI (`PHYSDEVOP_pirq_eoi_gmfn`, `public/physdev.h`), and the EOI.

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::sync::Ordering;
use lock_api::RawMutex;

use super::Mapping;
use super::Pirqs;
use super::Use;
use crate::event::domain::Domain;
use crate::event::error::EventError;
use crate::event::host::Host;
use crate::event::memory::GuestMemory;
use crate::event::memory::GuestPlace;

/// Who unmasks a port whose physical IRQ the guest acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EoiUnmask {
    /// The hypervisor, with the EOI (`PHYSDEVOP_pirq_eoi_gmfn_v1`).
    Automatic,
    /// The guest itself (`PHYSDEVOP_pirq_eoi_gmfn_v2`, or no page).
    Manual,
}

impl Pirqs {
    pub(crate) fn unmap(&self, memory: &impl GuestMemory) {
        self.page.unpin(memory);
        self.unmask.store(0, Ordering::Release);
    }
}

impl<L: RawMutex> Domain<L> {
    /// Registers the page with a bit for each physical IRQ that needs an EOI by hypercall.
    ///
    /// # Errors
    /// There is one already; a frame that is no memory.
    pub fn register_pirq_eoi_page(
        &self,
        memory: &impl GuestMemory,
        gfn: u64,
        unmask: EoiUnmask,
    ) -> Result<(), EventError> {
        let mut structure = self.lock();
        if self.pirqs.page.pinned().is_some() {
            return Err(EventError::PirqPageTwice(self.id));
        }
        self.pirqs.page.set(memory.pin(self.id, GuestPlace::frame(gfn))?);
        self.pirqs.unmask.store(u8::from(unmask == EoiUnmask::Automatic), Ordering::Release);
        structure.places.pirq_eoi = Some((gfn, unmask));
        Ok(())
    }

    /// Says in the guest's page whether a physical IRQ needs an EOI by hypercall.
    pub fn set_pirq_needs_eoi(&self, memory: &impl GuestMemory, pirq: u32, needed: EoiNeed) {
        let word = self.pirqs.page.get(memory).and_then(|page| page.0.get(Port(pirq / 64).index()));
        let (Some(word), true) = (word, self.pirqs.has(pirq)) else { return };
        let bit = 1_u64 << (pirq % 64);
        match needed {
            EoiNeed::Hypercall => word.fetch_or(bit, Ordering::AcqRel),
            EoiNeed::None => word.fetch_and(!bit, Ordering::AcqRel),
        };
    }

    /// The guest acknowledges a physical IRQ (`PHYSDEVOP_eoi`): unmasks its port if the guest asked for that. The host
    /// acknowledges the interrupt itself, or leaves that to [`physdev_op`](Self::physdev_op).
    ///
    /// # Errors
    /// Out of the domain's range; a number that is neither bound, mapped nor used.
    pub fn pirq_eoi<H: Host<Lock = L>>(&self, host: &H, pirq: u32) -> Result<(), EventError> {
        if !self.pirqs.has(pirq) {
            return Err(EventError::NoPirq(self.id, pirq));
        }
        match self.pirqs.port(pirq) {
            None if self.pirqs.mapping(pirq) == Mapping::None && self.pirqs.usage(pirq) == Use::None => {
                Err(EventError::PirqUnknown(self.id, pirq))
            }
            Some(port) if self.unmasks_at_eoi() => self.unmask(host, port),
            _ => Ok(()),
        }
    }

    /// The vCPU a physical IRQ notifies, so that the host can move the interrupt when the vCPU moves.
    pub fn pirq_vcpu(&self, pirq: u32) -> Option<VcpuId> {
        let slot = self.ports.get(self.pirqs.port(pirq)?)?;
        Some(slot.route().vcpu)
    }
}

/// Whether a physical IRQ needs an EOI by hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EoiNeed {
    /// It does: `PHYSDEVOP_eoi`.
    Hypercall,
    /// It does not.
    None,
}
