//! Raising a port of a guest's from outside the hypervisor's own sources, with a word on what became of it: for a monitor
//! whose devices signal event channels without a hypercall (KVM: `KVM_IRQ_ROUTING_XEN_EVTCHN`).

use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use lock_api::RawMutex;

use super::domain::Domain;
use super::error::EventError;
use super::host::Host;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Raised {
    /// The port is pending; its vCPU has been called, or was already.
    Delivered,
    /// The port was pending before.
    Merged,
    /// The port is pending behind its mask: the guest finds the event when it unmasks.
    Masked,
}

impl Raised {
    /// The result as KVM's routes give it: 1, 0, or a negated `ENOTCONN`, which is no failure. A guest that sends is told of
    /// none of this: all three are success.
    #[must_use]
    pub const fn route_result(self) -> i64 {
        match self {
            Self::Delivered => 1,
            Self::Merged => 0,
            Self::Masked => Errno::NotConnected.hypercall_result(),
        }
    }
}

impl<L: RawMutex> Domain<L> {
    /// Raises a port, as its peer's send would. What is told is what the guest's pages said just before; the guest may have
    /// changed them since.
    ///
    /// # Errors
    /// No such port; one that belongs to the hypervisor; one that is not open.
    pub fn raise<H: Host<Lock = L>>(&self, host: &H, port: Port) -> Result<Raised, EventError> {
        let slot = self.slot(port)?;
        let bound = slot.lock();
        if slot.consumer().is_some() {
            return Err(EventError::XenConsumer(self.id, port));
        }
        if !bound.binding().is_open() {
            return Err(EventError::WrongState(self.id, port));
        }
        let raised = match (self.is_pending(host, port) || slot.has_unraised(), self.is_masked(host, port)) {
            (true, _) => Raised::Merged,
            (false, true) => Raised::Masked,
            (false, false) => Raised::Delivered,
        };
        self.set_pending(host, port, slot);
        Ok(raised)
    }
}
