//! A domain's physical IRQs: which port each is bound to, and the page that tells which need an EOI
//! (`PHYSDEVOP_pirq_eoi_gmfn`, `public/physdev.h`).

use alloc::boxed::Box;
use core::iter;

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::physdev::PirqEoiPage;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use lock_api::RawMutex;

use super::domain::Domain;
use super::error::EventError;
use super::host::Host;
use super::memory::GuestMemory;
use super::memory::GuestPlace;
use super::memory::PinCell;

/// Which port each physical IRQ is bound to.
#[derive(Debug)]
pub(crate) struct Pirqs {
    /// By physical IRQ; 0 for none.
    ports: Box<[AtomicU32]>,
    page: PinCell<PirqEoiPage>,
    unmask: AtomicU8,
}

/// Who unmasks a port whose physical IRQ the guest acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EoiUnmask {
    /// The hypervisor, with the EOI (`PHYSDEVOP_pirq_eoi_gmfn_v1`).
    Automatic,
    /// The guest itself (`PHYSDEVOP_pirq_eoi_gmfn_v2`, or no page).
    Manual,
}

impl Pirqs {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            ports: iter::repeat_with(|| AtomicU32::new(0)).take(Port(count).index()).collect(),
            page: PinCell::empty(),
            unmask: AtomicU8::new(0),
        }
    }

    fn cell(&self, pirq: u32) -> Option<&AtomicU32> {
        self.ports.get(Port(pirq).index())
    }

    pub(crate) fn has(&self, pirq: u32) -> bool {
        self.cell(pirq).is_some()
    }

    pub(crate) fn port(&self, pirq: u32) -> Option<Port> {
        let port = Port(self.cell(pirq)?.load(Ordering::Acquire));
        Some(port).filter(|port| port.0 != 0)
    }

    /// The caller holds the event lock.
    pub(crate) fn set_port(&self, pirq: u32, port: Option<Port>) {
        if let Some(cell) = self.cell(pirq) {
            cell.store(port.map_or(0, |port| port.0), Ordering::Release);
        }
    }

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
    /// acknowledges the interrupt itself.
    ///
    /// # Errors
    /// Out of the domain's range.
    pub fn pirq_eoi<H: Host<Lock = L>>(&self, host: &H, pirq: u32) -> Result<(), EventError> {
        if !self.pirqs.has(pirq) {
            return Err(EventError::NoPirq(self.id, pirq));
        }
        match self.pirqs.port(pirq) {
            Some(port) if self.pirqs.unmask.load(Ordering::Acquire) != 0 => self.unmask(host, port),
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

/// The physical IRQ a guest's emulated MSI stands for: one with vector 0, whatever its delivery mode (R-33: such a message
/// looks like ExtINT). The number's low 8 bits are the destination, the others bits 31:8 of the address's upper half.
///
/// `None` for an ordinary MSI.
#[must_use]
pub const fn pirq_of_msi(address: u64, data: u32) -> Option<u32> {
    if data & 0xff != 0 {
        return None;
    }
    let [_, low_8, low_16, _, _, high_8, high_16, high_24] = address.to_le_bytes();
    let destination = low_16 << 4 | low_8 >> 4;
    Some(u32::from_le_bytes([destination, high_8, high_16, high_24]))
}
