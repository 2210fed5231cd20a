//! Opening ports: finding a free one, and binding it to each kind of source.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::virq::VirqClass;
use lock_api::RawMutex;

use super::domain::Domain;
use super::domain::Life;
use super::domain::Structure;
use super::domain::StructureGuard;
use super::error::EventError;
use super::host::Action;
use super::host::Host;
use super::host::Sharing;
use super::memory::GuestMemory;
use super::slot::Binding;
use super::slot::ConsumerId;
use super::slot::Route;
use super::slot::Slot;
use crate::fabric::DomainKind;

impl<L: RawMutex> Domain<L> {
    /// The lowest port that is neither open nor still in a queue, which is not open yet.
    ///
    /// # Errors
    /// The domain is dying; all ports up to its limit are taken.
    fn find_free(&self, memory: &impl GuestMemory, structure: &mut Structure) -> Result<(Port, &Slot<L>), EventError> {
        if structure.life != Life::Alive {
            return Err(EventError::Dying(self.id));
        }
        let limit = self.port_limit();
        let mut all_taken_below = true;
        for number in structure.lowest_free..limit {
            let port = Port(number);
            let Some(slot) = self.ports.get_or_allocate(port) else { break };
            if slot.binding() != Binding::Free {
                continue;
            }
            if all_taken_below {
                structure.lowest_free = number;
                all_taken_below = false;
            }
            if !self.is_busy(memory, port) {
                return Ok((port, slot));
            }
        }
        Err(EventError::NoFreePort { domain: self.id, limit })
    }

    /// Binds a free port. The caller holds the event lock.
    fn open(&self, structure: &mut Structure, slot: &Slot<L>, binding: Binding, vcpu: VcpuId) {
        let mut bound = slot.lock();
        slot.set_route(Route { vcpu, priority: FifoPriority::DEFAULT });
        bound.set(binding);
        structure.open += 1;
    }

    /// Offers a port of `owner` to a domain (`EVTCHNOP_alloc_unbound`).
    ///
    /// # Errors
    /// No such domain; no free port, or the owner is dying; no power over the owner. In this order.
    pub fn alloc_unbound<H: Host<Lock = L>>(
        &self,
        host: &H,
        owner: DomainId,
        remote: DomainId,
    ) -> Result<Port, EventError> {
        let owner = self.resolve(owner);
        if owner == self.id {
            return self.offer(host, self, remote);
        }
        let target = host.domain(owner).ok_or(EventError::NoDomain(owner))?;
        self.offer(host, target, remote)
    }

    fn offer<H: Host<Lock = L>>(&self, host: &H, owner: &Self, remote: DomainId) -> Result<Port, EventError> {
        let mut structure = owner.lock();
        let (port, slot) = owner.find_free(host, &mut structure)?;
        self.may_control(owner.id)?;
        owner.open(&mut structure, slot, Binding::Unbound { remote: self.resolve(remote) }, VcpuId(0));
        Ok(port)
    }

    /// Offers a port whose events the hypervisor itself consumes (`alloc_unbound_xen_event_channel`).
    ///
    /// # Errors
    /// No such vCPU; no free port, or the domain is dying.
    pub fn alloc_consumed<H: Host<Lock = L>>(
        &self,
        host: &H,
        vcpu: VcpuId,
        remote: DomainId,
        consumer: ConsumerId,
    ) -> Result<Port, EventError> {
        self.vcpu(vcpu)?;
        let mut structure = self.lock();
        let (port, slot) = self.find_free(host, &mut structure)?;
        slot.set_consumer(Some(consumer));
        self.open(&mut structure, slot, Binding::Unbound { remote }, vcpu);
        structure.consumed += 1;
        Ok(port)
    }

    /// Connects to a port another domain, or the same, offers to this one (`EVTCHNOP_bind_interdomain`). The new port is
    /// pending at once, since events sent before have gone nowhere.
    ///
    /// # Errors
    /// No such domain; no free port, or the domain is dying; the remote port does not exist, or is not offered to this
    /// domain. In this order.
    pub fn bind_interdomain<H: Host<Lock = L>>(
        &self,
        host: &H,
        remote: DomainId,
        remote_port: Port,
    ) -> Result<Port, EventError> {
        let remote = self.resolve(remote);
        if remote == self.id {
            let mut structure = self.lock();
            return self.connect(host, &mut structure, self, remote_port);
        }
        let peer = host.domain(remote).ok_or(EventError::NoDomain(remote))?;
        let (mut structure, _peers) = self.lock_with(peer);
        self.connect(host, &mut structure, peer, remote_port)
    }

    /// Both event locks, taken in the order of the domains' numbers; this domain's comes first in the result.
    pub(crate) fn lock_with<'d>(&'d self, peer: &'d Self) -> (StructureGuard<'d, L>, StructureGuard<'d, L>) {
        if self.id < peer.id {
            let own = self.lock();
            (own, peer.lock())
        } else {
            let peers = peer.lock();
            (self.lock(), peers)
        }
    }

    fn connect<H: Host<Lock = L>>(
        &self,
        host: &H,
        structure: &mut Structure,
        peer: &Self,
        remote_port: Port,
    ) -> Result<Port, EventError> {
        let (port, slot) = self.find_free(host, structure)?;
        let remote_slot = peer.slot(remote_port)?;
        if remote_slot.binding() != (Binding::Unbound { remote: self.id }) {
            return Err(EventError::NotOffered(peer.id, remote_port));
        }
        // The peer learns of this end last: an event it sends finds the port open.
        self.open(structure, slot, Binding::Interdomain { remote: peer.id, port: remote_port }, VcpuId(0));
        remote_slot.lock().set(Binding::Interdomain { remote: self.id, port });
        self.set_pending(host, port, slot);
        Ok(port)
    }

    /// Binds a virtual IRQ (`EVTCHNOP_bind_virq`).
    ///
    /// # Errors
    /// A vCPU other than 0 for one that is not per vCPU; no such vCPU; a global one that another domain handles; bound
    /// already; no free port, or the domain is dying. In this order.
    pub fn bind_virq<H: Host<Lock = L>>(&self, host: &H, virq: Virq, vcpu: VcpuId) -> Result<Port, EventError> {
        if virq.class() != VirqClass::PerVcpu && vcpu != VcpuId(0) {
            return Err(EventError::NotPerVcpu(virq));
        }
        let own = self.vcpu(vcpu)?;
        let mut structure = self.lock();
        if virq.class() == VirqClass::Global && host.virq_handlers().get(virq) != self.id {
            return Err(EventError::HandledElsewhere(virq));
        }
        if own.virq_port(virq).is_some() {
            return Err(EventError::VirqBound(virq));
        }
        // Nothing has been changed yet, so there is nothing to undo where no port is left.
        let (port, slot) = self.find_free(host, &mut structure)?;
        self.open(&mut structure, slot, Binding::Virq(virq), vcpu);
        own.set_virq_port(virq, Some(port));
        Ok(port)
    }

    /// Binds an interrupt that other vCPUs of the domain can send to `vcpu` (`EVTCHNOP_bind_ipi`).
    ///
    /// # Errors
    /// No such vCPU; no free port, or the domain is dying.
    pub fn bind_ipi<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId) -> Result<Port, EventError> {
        self.vcpu(vcpu)?;
        let mut structure = self.lock();
        let (port, slot) = self.find_free(host, &mut structure)?;
        self.open(&mut structure, slot, Binding::Ipi, vcpu);
        Ok(port)
    }

    /// Binds a physical IRQ (`EVTCHNOP_bind_pirq`), notifying vCPU 0. What is passed through to an HVM guest under this
    /// number comes as an event from now on.
    ///
    /// # Errors
    /// Out of the domain's range; not allowed to a PV domain; bound already; no free port, or the domain is dying; the host
    /// refuses it. In this order.
    pub fn bind_pirq<H: Host<Lock = L>>(&self, host: &H, pirq: u32, sharing: Sharing) -> Result<Port, EventError> {
        if !self.pirqs.has(pirq) {
            return Err(EventError::NoPirq(self.id, pirq));
        }
        if self.kind == DomainKind::Pv && !host.may_use_pirq(self.id, pirq) {
            return Err(EventError::PirqDenied(self.id, pirq));
        }
        let mut structure = self.lock();
        if self.pirqs.port(pirq).is_some() {
            return Err(EventError::PirqBound(self.id, pirq));
        }
        let (port, slot) = self.find_free(host, &mut structure)?;
        if self.kind == DomainKind::Pv {
            host.bind_pirq(self.id, pirq, sharing).map_err(|reason| EventError::PirqRefused { pirq, reason })?;
        }
        self.open(&mut structure, slot, Binding::Pirq(pirq), VcpuId(0));
        self.pirqs.set_port(pirq, Some(port));
        self.pirq_bound(host, &structure, pirq);
        Ok(port)
    }

    /// Chooses the vCPU a port notifies from now on (`EVTCHNOP_bind_vcpu`). What is in a queue stays there.
    ///
    /// # Errors
    /// No such vCPU; no such port; one that belongs to the hypervisor, or is bound to a vCPU by its kind. In this order.
    pub fn bind_vcpu<H: Host<Lock = L>>(&self, host: &H, port: Port, vcpu: VcpuId) -> Result<(), EventError> {
        self.vcpu(vcpu)?;
        let slot = self.slot(port)?;
        let _structure = self.lock();
        let bound = slot.lock();
        if slot.consumer().is_some() {
            return Err(EventError::XenConsumer(self.id, port));
        }
        let route = slot.route();
        match bound.binding() {
            Binding::Virq(virq) if virq.class() == VirqClass::PerVcpu => {
                return Err(EventError::WrongState(self.id, port));
            }
            Binding::Free | Binding::Reserved | Binding::Ipi => return Err(EventError::WrongState(self.id, port)),
            Binding::Pirq(pirq) if route.vcpu != vcpu => {
                host.act(Action::MovePirq { domain: self.id, pirq, vcpu });
            }
            Binding::Unbound { .. } | Binding::Interdomain { .. } | Binding::Pirq(_) | Binding::Virq(_) => {}
        }
        slot.set_route(Route { vcpu, ..route });
        Ok(())
    }
}
