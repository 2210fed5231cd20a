//! Who handles the global virtual IRQs (`XEN_DOMCTL_set_virq_handler`, `public/domctl.h`).

use core::array;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::sync::AtomicU16;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::virq::NR_VIRQS;
use hypervisor_abi::virq::VirqClass;

use super::error::EventError;
use super::host::Host;

/// The handlers of one host. Virtual IRQs that nobody was chosen for are the hardware domain's.
#[derive(Debug)]
pub struct VirqHandlers {
    hardware_domain: DomainId,
    chosen: [AtomicU16; NR_VIRQS],
}

/// No domain was chosen.
const NOBODY: u16 = u16::MAX;

impl VirqHandlers {
    /// All global virtual IRQs are the hardware domain's.
    #[must_use]
    pub fn new(hardware_domain: DomainId) -> Self {
        Self { hardware_domain, chosen: array::from_fn(|_| AtomicU16::new(NOBODY)) }
    }

    /// The domain that drives the hardware.
    pub const fn hardware_domain(&self) -> DomainId {
        self.hardware_domain
    }

    /// The domain that handles a virtual IRQ.
    pub fn get(&self, virq: Virq) -> DomainId {
        match self.chosen[virq.index()].load(Ordering::Acquire) {
            NOBODY => self.hardware_domain,
            chosen => DomainId(chosen),
        }
    }

    /// Chooses the domain that handles a global virtual IRQ.
    ///
    /// # Errors
    /// The virtual IRQ is not global; no such domain.
    pub fn set<H: Host>(&self, host: &H, virq: Virq, handler: DomainId) -> Result<(), EventError> {
        if virq.class() != VirqClass::Global {
            return Err(EventError::NotGlobal(virq));
        }
        host.domain(handler).ok_or(EventError::NoDomain(handler))?;
        self.chosen[virq.index()].store(handler.0, Ordering::Release);
        Ok(())
    }

    /// A domain is gone: what it handled goes back to the hardware domain.
    pub(crate) fn release(&self, gone: DomainId) {
        for chosen in &self.chosen {
            // If somebody else was chosen meanwhile, that stays.
            let _: Result<u16, u16> = chosen.compare_exchange(gone.0, NOBODY, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

/// Raises a global virtual IRQ at the domain that handles it; nowhere if that domain does not exist or has not bound it.
///
/// # Errors
/// The virtual IRQ is not global.
pub fn send_global_virq<H: Host>(host: &H, virq: Virq) -> Result<(), EventError> {
    if virq.class() != VirqClass::Global {
        return Err(EventError::NotGlobal(virq));
    }
    match host.domain(host.virq_handlers().get(virq)) {
        Some(domain) => domain.send_virq(host, VcpuId(0), virq),
        None => Ok(()),
    }
}
