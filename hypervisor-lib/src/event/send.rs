//! Sending: the hot path.
//!
//! A sender takes one lock, its own port's, and with the FIFO ABI the target queue's; it holds each for a bounded number of
//! steps. The peer cannot be closed meanwhile, because closing either end takes both ends' locks.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::virq::VirqClass;
use lock_api::RawMutex;

use super::domain::Domain;
use super::error::EventError;
use super::host::Action;
use super::host::Host;
use super::slot::Binding;
use super::slot::Slot;

impl<L: RawMutex> Domain<L> {
    /// Sends an event from one of the domain's ports (`EVTCHNOP_send`). From an unbound port it goes nowhere.
    ///
    /// # Errors
    /// No such port; a port that belongs to the hypervisor; one that is neither interdomain, IPI nor unbound.
    pub fn send<H: Host<Lock = L>>(&self, host: &H, port: Port) -> Result<(), EventError> {
        let slot = self.slot(port)?;
        let bound = slot.lock();
        if slot.consumer().is_some() {
            return Err(EventError::XenConsumer(self.id, port));
        }
        match bound.binding() {
            Binding::Interdomain { remote, port } => self.raise_remote(host, remote, port),
            Binding::Ipi => self.set_pending(host, port, slot),
            Binding::Unbound { .. } => {}
            Binding::Free | Binding::Reserved | Binding::Pirq(_) | Binding::Virq(_) => {
                return Err(EventError::WrongState(self.id, port));
            }
        }
        Ok(())
    }

    /// Sends an event from a port whose events the hypervisor consumes to the guest at its other end
    /// (`notify_via_xen_event_channel`). From a port that is not connected it goes nowhere.
    pub fn notify_from_consumer<H: Host<Lock = L>>(&self, host: &H, port: Port) {
        let Some(slot) = self.ports.get(port) else { return };
        let bound = slot.lock();
        if let (Some(_), Binding::Interdomain { remote, port }) = (slot.consumer(), bound.binding()) {
            self.raise_remote(host, remote, port);
        }
    }

    /// Raises the port at the other end of one whose lock the caller holds.
    fn raise_remote<H: Host<Lock = L>>(&self, host: &H, remote: DomainId, port: Port) {
        let raise = |target: &Self| {
            if let Some(slot) = target.ports.get(port) {
                target.raise_or_notify(host, port, slot);
            }
        };
        if remote == self.id {
            raise(self);
        } else if let Some(target) = host.domain(remote) {
            raise(target);
        }
    }

    fn raise_or_notify<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: &Slot<L>) {
        match slot.consumer() {
            Some(consumer) => {
                let vcpu = slot.route().vcpu;
                host.act(Action::NotifyConsumer { consumer, domain: self.id, vcpu, port });
            }
            None => self.set_pending(host, port, slot),
        }
    }

    /// Raises a virtual IRQ of a vCPU; of the whole domain for those that are not per vCPU. Nothing happens if the guest has
    /// not bound it.
    ///
    /// # Errors
    /// No such vCPU.
    pub fn send_virq<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId, virq: Virq) -> Result<(), EventError> {
        let vcpu = if virq.class() == VirqClass::PerVcpu { vcpu } else { VcpuId(0) };
        let port = self.vcpu(vcpu)?.virq_port(virq);
        self.raise_bound(host, port, Binding::Virq(virq));
        Ok(())
    }

    /// A physical IRQ has happened that the domain may have bound. Nothing happens if it has not.
    pub fn send_pirq<H: Host<Lock = L>>(&self, host: &H, pirq: u32) {
        self.raise_bound(host, self.pirqs.port(pirq), Binding::Pirq(pirq));
    }

    /// Raises a port if it is still bound to what a table without a lock said.
    fn raise_bound<H: Host<Lock = L>>(&self, host: &H, port: Option<Port>, wanted: Binding) {
        let Some((port, slot)) = port.and_then(|port| Some((port, self.ports.get(port)?))) else { return };
        let bound = slot.lock();
        if bound.binding() == wanted {
            self.set_pending(host, port, slot);
        }
    }
}
