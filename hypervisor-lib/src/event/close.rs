//! Closing ports: one, all of a domain's (reset), or for good (destruction).

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::virq::VirqClass;
use lock_api::RawMutex;

use super::domain::Domain;
use super::domain::Life;
use super::domain::Structure;
use super::error::EventError;
use super::host::Host;
use super::memory::GuestMemory;
use super::slot::Binding;
use super::slot::Route;
use super::slot::Slot;
use super::table::PORTS_PER_BUCKET;
use super::vcpu::NOT_POLLING;

/// How many ports a long operation closes before it looks whether the CPU is wanted elsewhere.
const PORTS_PER_LOOK: u32 = 64;
const _: () = assert!(PORTS_PER_LOOK as usize == PORTS_PER_BUCKET);

/// Who closes a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    /// The guest, which cannot close the hypervisor's ports.
    Guest,
    /// The hypervisor.
    Hypervisor,
}

/// Whether a reset begins or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetStep {
    /// A guest's or toolstack's own call (`EVTCHNOP_reset`).
    Begin,
    /// The call that was broken off, repeated by the hypervisor.
    Continue,
}

impl<L: RawMutex> Domain<L> {
    /// Closes a port (`EVTCHNOP_close`). A peer becomes unbound, offered to this domain as before.
    ///
    /// # Errors
    /// No such port; one that belongs to the hypervisor; one that is not open.
    pub fn close<H: Host<Lock = L>>(&self, host: &H, port: Port) -> Result<(), EventError> {
        self.close_as(host, port, Closer::Guest)
    }

    /// Closes a port that [`alloc_consumed`](Self::alloc_consumed) offered (`free_xen_event_channel`).
    ///
    /// # Errors
    /// No such port; one that is not open.
    pub fn close_consumed<H: Host<Lock = L>>(&self, host: &H, port: Port) -> Result<(), EventError> {
        self.close_as(host, port, Closer::Hypervisor)
    }

    fn close_as<H: Host<Lock = L>>(&self, host: &H, port: Port, closer: Closer) -> Result<(), EventError> {
        let slot = self.slot(port)?;
        // The peer's number decides which locks to take; with them held it is looked at again. A port that was unbound may
        // have been connected meanwhile, hence a second round; one with another peer than before must have been closed.
        for _ in 0..2 {
            let peer = self.peer_of(slot).and_then(|id| host.domain(id));
            let (mut structure, _peers) = match peer {
                Some(peer) => {
                    let (own, peers) = self.lock_with(peer);
                    (own, Some(peers))
                }
                None => (self.lock(), None),
            };
            let now = self.peer_of(slot);
            if now.is_none() || now == peer.map(Self::id) {
                return self.close_locked(host, &mut structure, port, slot, peer, closer);
            }
        }
        Err(EventError::WrongState(self.id, port))
    }

    /// The other domain a port is connected to.
    fn peer_of(&self, slot: &Slot<L>) -> Option<DomainId> {
        match slot.binding() {
            Binding::Interdomain { remote, .. } if remote != self.id => Some(remote),
            _ => None,
        }
    }

    /// Closes a port under its domain's event lock, and its peer's if that is another domain.
    fn close_locked<H: Host<Lock = L>>(
        &self,
        host: &H,
        structure: &mut Structure,
        port: Port,
        slot: &Slot<L>,
        peer: Option<&Self>,
        closer: Closer,
    ) -> Result<(), EventError> {
        if slot.consumer().is_some() && closer == Closer::Guest {
            return Err(EventError::XenConsumer(self.id, port));
        }
        match slot.binding() {
            Binding::Free | Binding::Reserved => return Err(EventError::WrongState(self.id, port)),
            Binding::Unbound { .. } | Binding::Ipi => {}
            Binding::Interdomain { port: remote_port, .. } => {
                return self.part(host, structure, (port, slot), peer.unwrap_or(self), remote_port);
            }
            Binding::Virq(virq) => {
                let vcpu = if virq.class() == VirqClass::PerVcpu { slot.route().vcpu } else { VcpuId(0) };
                if let Some(vcpu) = self.vcpus.get(vcpu.index()) {
                    vcpu.set_virq_port(virq, None);
                }
            }
            Binding::Pirq(pirq) => {
                self.pirqs.set_port(pirq, None);
                self.pirq_unbound(host, structure, pirq);
            }
        }
        let mut bound = slot.lock();
        bound.set(Binding::Free);
        self.forget(host, structure, port, slot);
        Ok(())
    }

    /// Closes one end of a connection. Both ends' locks are held at once, in the order of domain and port, so that no event
    /// is under way between them.
    fn part(
        &self,
        memory: &impl GuestMemory,
        structure: &mut Structure,
        (port, slot): (Port, &Slot<L>),
        peer: &Self,
        remote_port: Port,
    ) -> Result<(), EventError> {
        let remote = peer.slot(remote_port)?;
        let (mut bound, mut remote_bound) = if (self.id, port) < (peer.id, remote_port) {
            let bound = slot.lock();
            (bound, remote.lock())
        } else {
            let remote_bound = remote.lock();
            (slot.lock(), remote_bound)
        };
        // A restore that was given up half-way may have left one end alone.
        if remote_bound.binding() == (Binding::Interdomain { remote: self.id, port }) {
            remote_bound.set(Binding::Unbound { remote: self.id });
        }
        bound.set(Binding::Free);
        self.forget(memory, structure, port, slot);
        Ok(())
    }

    /// Takes back everything about a port whose lock is held and that is no longer bound. Its last queue is remembered: the
    /// guest may not have taken it off yet.
    fn forget(&self, memory: &impl GuestMemory, structure: &mut Structure, port: Port, slot: &Slot<L>) {
        self.clear_pending(memory, port, slot);
        slot.set_route(Route::DEFAULT);
        if slot.consumer().is_some() {
            slot.set_consumer(None);
            structure.consumed -= 1;
        }
        structure.open -= 1;
        structure.lowest_free = structure.lowest_free.min(port.0);
    }

    /// Closes all of a domain's ports and puts it back to the 2-level ABI (`EVTCHNOP_reset`). The hypervisor's own ports
    /// stay open.
    ///
    /// # Errors
    /// No such domain; no power over it; another domain that is not paused; a reset in progress, or none to carry on;
    /// [`EventError::BrokenOff`] if the CPU is wanted elsewhere: carry it on with [`ResetStep::Continue`]; ports that were
    /// opened meanwhile. In this order.
    pub fn reset<H: Host<Lock = L>>(&self, host: &H, target: DomainId, step: ResetStep) -> Result<(), EventError> {
        let target = self.resolve(target);
        if target == self.id {
            return self.reset_self(host, step);
        }
        let domain = host.domain(target).ok_or(EventError::NoDomain(target))?;
        self.may_control(target)?;
        if !host.is_paused(target) {
            return Err(EventError::NotPaused(target));
        }
        domain.reset_self(host, step)
    }

    fn reset_self<H: Host<Lock = L>>(&self, host: &H, step: ResetStep) -> Result<(), EventError> {
        let mut structure = self.lock();
        let start = match (step, structure.reset_at) {
            (ResetStep::Begin, None) => 1,
            (ResetStep::Continue, Some(at)) => at,
            (ResetStep::Begin, Some(_)) | (ResetStep::Continue, None) => return Err(EventError::ResetBusy(self.id)),
        };
        structure.reset_at = Some(start);
        drop(structure);
        if let Some(at) = self.close_from(host, start, Closer::Guest) {
            self.lock().reset_at = Some(at);
            return Err(EventError::BrokenOff);
        }
        let mut structure = self.lock();
        structure.reset_at = None;
        if structure.open > structure.consumed {
            return Err(EventError::StillOpen(self.id));
        }
        self.leave_fifo(host, &mut structure);
        Ok(())
    }

    /// Closes every port from a number on; the port to carry on at if the CPU is wanted elsewhere.
    fn close_from<H: Host<Lock = L>>(&self, host: &H, start: u32, closer: Closer) -> Option<u32> {
        for (port, _) in self.ports.existing(start..self.max_port + 1) {
            if port.0 > start && port.0.is_multiple_of(PORTS_PER_LOOK) && host.is_preempted() {
                return Some(port.0);
            }
            // What is not open, or is the hypervisor's, stays as it is.
            let _: Result<(), EventError> = self.close_as(host, port, closer);
        }
        None
    }

    /// Ends a domain: no port is opened any more, all are closed, all pages given back. Repeat while it says
    /// [`EventError::BrokenOff`].
    ///
    /// # Errors
    /// [`EventError::BrokenOff`].
    pub fn destroy<H: Host<Lock = L>>(&self, host: &H) -> Result<(), EventError> {
        let start = {
            let mut structure = self.lock();
            let start = if let Life::Dying { at } = structure.life { at } else { 1 };
            structure.life = Life::Dying { at: start };
            start
        };
        if let Some(at) = self.close_from(host, start, Closer::Hypervisor) {
            self.lock().life = Life::Dying { at };
            return Err(EventError::BrokenOff);
        }
        let mut structure = self.lock();
        host.virq_handlers().release(self.id);
        self.leave_fifo(host, &mut structure);
        self.give_pages_back(host, &mut structure);
        self.shared_info_64.unpin(host);
        self.shared_info_32.unpin(host);
        drop(structure);
        Ok(())
    }

    /// Puts a domain back to where it started, for a kernel that replaces another: ports closed, pages given back, no
    /// upcall vector, no callback. The shared page stays. Repeat as with [`reset`](Self::reset).
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub fn soft_reset<H: Host<Lock = L>>(&self, host: &H, step: ResetStep) -> Result<(), EventError> {
        self.reset_self(host, step)?;
        for vcpu in &self.vcpus {
            vcpu.upcall_vector.store(0, Ordering::Release);
            if vcpu.poll.swap(NOT_POLLING, Ordering::SeqCst) != NOT_POLLING {
                self.polling.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.set_callback_via(host, CallbackVia::None, self.word_size())?;
        self.give_pages_back(host, &mut self.lock());
        Ok(())
    }

    /// The pages the guest registered, but for FIFO's and the shared page.
    fn give_pages_back(&self, memory: &impl GuestMemory, structure: &mut Structure) {
        structure.places.vcpu_infos.clear();
        structure.places.pirq_eoi = None;
        self.vcpus.iter().for_each(|vcpu| vcpu.unmap_info(memory));
        self.pirqs.unmap(memory);
    }
}
