//! Sending: the hot path.
//!
//! **Without the port's lock.** A sender reads its port's word and so knows the port at the other end. With the FIFO ABI it
//! needs the lock of that port's queue anyway; once it has it, it reads its own port's word again. If that still says the
//! same, the connection cannot end before the sender gives the lock back, since whoever ends it changes the word first and
//! then passes through the queue's lock. If not, or if anything else is out of the ordinary (no event word yet, no control
//! block, a port the hypervisor consumes, a port that moves), the sender starts again with the lock. An event that changes
//! nothing, because the port is pending already, needs no lock at all: nothing is written.
//!
//! **With the port's lock**, the peer cannot be closed meanwhile, because closing either end takes both ends' locks. So
//! does the 2-level ABI, which has no queues.
//!
//! Either way, when closing an end has returned, no event is under way between the two that will still show at either:
//! the next owner of the number gets nothing that was sent to the last one. Xen promises as much, by a lock that each
//! sender takes for reading. A sender holds each lock for a bounded number of steps, none of which a guest can lengthen.

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
use super::slot::Source;

impl<L: RawMutex> Domain<L> {
    /// Sends an event from one of the domain's ports (`EVTCHNOP_send`). From an unbound port it goes nowhere.
    ///
    /// # Errors
    /// No such port; a port that belongs to the hypervisor; one that is neither interdomain, IPI nor unbound.
    pub fn send<H: Host<Lock = L>>(&self, host: &H, port: Port) -> Result<(), EventError> {
        let slot = self.slot(port)?;
        if self.send_without_lock(host, port, slot) { Ok(()) } else { self.send_with_lock(host, port, slot) }
    }

    /// Sends an event as most are sent; `false` if it must be sent with the port's lock.
    #[inline]
    fn send_without_lock<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: Slot<'_, L>) -> bool {
        let bound = slot.bound();
        if bound.consumer().is_some() {
            return false;
        }
        let (target, port) = match bound.binding() {
            Binding::Interdomain { remote, port } if remote != self.id => match host.domain(remote) {
                Some(target) => (target, port),
                None => return false,
            },
            Binding::Interdomain { port, .. } => (self, port),
            Binding::Ipi => (self, port),
            _ => return false,
        };
        target.try_raise(host, port, Source::new(slot, bound))
    }

    #[inline(never)]
    fn send_with_lock<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: Slot<'_, L>) -> Result<(), EventError> {
        let bound = slot.lock();
        if bound.bound().consumer().is_some() {
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

    fn raise_or_notify<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: Slot<'_, L>) {
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
        let now = slot.bound();
        if now.binding() == wanted && self.try_raise(host, port, Source::new(slot, now)) {
            return;
        }
        let bound = slot.lock();
        if bound.binding() == wanted {
            self.set_pending(host, port, slot);
        }
    }
}
