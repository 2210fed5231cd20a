//! Telling a port's state.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FifoPriority;
use lock_api::RawMutex;

use super::domain::Domain;
use super::error::EventError;
use super::host::Host;
use super::memory::GuestMemory;
use super::slot::Binding;

/// A port as `EVTCHNOP_status` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// What it is bound to.
    pub binding: Binding,
    /// The vCPU it notifies.
    pub vcpu: VcpuId,
}

/// A port's bits and its place, for tools and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBits {
    /// An event has happened, or waits for its event word.
    pub pending: bool,
    /// The guest does not want to be called.
    pub masked: bool,
    /// Its FIFO priority.
    pub priority: FifoPriority,
}

impl<L: RawMutex> Domain<L> {
    /// Tells a port's state (`EVTCHNOP_status`).
    ///
    /// # Errors
    /// No such domain; no such port; one that belongs to the hypervisor; no power over the domain. In this order.
    pub fn status<H: Host<Lock = L>>(&self, host: &H, owner: DomainId, port: Port) -> Result<PortStatus, EventError> {
        let owner = self.resolve(owner);
        if owner == self.id {
            return self.own_status(port);
        }
        let domain = host.domain(owner).ok_or(EventError::NoDomain(owner))?;
        let status = domain.own_status(port)?;
        self.may_control(owner)?;
        Ok(status)
    }

    fn own_status(&self, port: Port) -> Result<PortStatus, EventError> {
        let slot = self.slot(port)?;
        let bound = slot.lock();
        if slot.consumer().is_some() {
            return Err(EventError::Hidden(self.id, port));
        }
        Ok(PortStatus { binding: bound.binding(), vcpu: slot.route().vcpu })
    }

    /// A port's bits.
    ///
    /// # Errors
    /// No such port.
    pub fn bits(&self, memory: &impl GuestMemory, port: Port) -> Result<PortBits, EventError> {
        let slot = self.slot(port)?;
        Ok(PortBits {
            pending: self.is_pending(memory, port) || slot.has_unraised(),
            masked: self.is_masked(memory, port),
            priority: slot.route().priority,
        })
    }
}
