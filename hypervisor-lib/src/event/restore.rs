//! Saving a domain's event channels, and restoring them into a new domain.
//!
//! Ports keep their numbers, since guests and toolstacks remember them. A port connected to another domain is offered to
//! that domain again: its other end did not move along. Nothing is saved of the queues. Their words moved with the guest's
//! memory, but the host's notes about their tails did not; so restoring takes every port off its queue and puts those that
//! are pending back, which a guest that was stopped in the middle of its upcall takes as a second look.

use alloc::vec::Vec;

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::BUSY;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::event::LINK_MASK;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::hvm::UnknownCallbackType;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::virq::VirqClass;
use lock_api::RawMutex;

use super::domain::Domain;
use super::domain::Life;
use super::error::EventError;
use super::host::Host;
use super::host::Sharing;
use super::saved::SavedEvents;
use super::saved::SavedPort;
use super::saved::SavedVcpu;
use super::slot::Binding;
use super::slot::Route;
use super::table::PORTS_PER_BUCKET;
use crate::fabric::DomainKind;

/// Saved event channels do not fit the domain they are to be restored into. The domain is to be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The domain is not as it was created.
    #[error("the domain has open ports or pages, or is being destroyed")]
    NotFresh,
    /// The domain has another number of vCPUs.
    #[error("{saved} vCPUs were saved, the domain has {present}")]
    Vcpus {
        /// How many were saved.
        saved: usize,
        /// How many there are.
        present: usize,
    },
    /// A port cannot be restored: its number is beyond the domain's limit, or its source is not the domain's.
    #[error("{0} cannot be restored")]
    Port(Port),
    /// The callback is none that exists.
    #[error(transparent)]
    Callback(#[from] UnknownCallbackType),
    /// A page or a source was refused.
    #[error("what was saved was refused")]
    Refused(#[from] EventError),
}

impl<L: RawMutex> Domain<L> {
    /// What a host has to hand over, besides the guest's memory. The domain is stopped.
    pub fn save(&self) -> SavedEvents {
        let structure = self.lock();
        let places = &structure.places;
        let vcpus = self.vcpus.iter().zip(0..);
        let vcpus = vcpus.map(|(vcpu, number)| SavedVcpu {
            upcall_vector: vcpu.upcall_vector.load(Ordering::Acquire),
            info: places.vcpu_infos.get(&number).copied(),
            control: places.controls.get(&number).copied(),
        });
        // The hypervisor's own ports are opened anew by whoever consumes them.
        let guests = self.ports.existing(1..self.max_port + 1).filter(|(_, slot)| slot.consumer().is_none());
        let open = guests.filter_map(|(port, slot)| {
            let (binding, route) = (slot.binding(), slot.route());
            binding.is_open().then(|| SavedPort {
                port,
                binding,
                vcpu: route.vcpu.0,
                priority: route.priority.number(),
                unraised: slot.has_unraised(),
            })
        });
        SavedEvents {
            word_size: self.word_size(),
            callback: self.callback_via().to_param(),
            vcpus: vcpus.collect(),
            array_gfns: self.fifo_in_use().map(|_| places.array_gfns.clone()),
            pirq_eoi: places.pirq_eoi,
            ports: open.collect(),
        }
    }

    /// Takes over saved event channels, once the guest's memory is in place and before it runs. Every vCPU is then called
    /// once, in case an upcall was under way.
    ///
    /// # Errors
    /// [`RestoreError`]; what was restored so far stays, and [`destroy`](Self::destroy) takes it back.
    pub fn restore<H: Host<Lock = L>>(&self, host: &H, saved: &SavedEvents) -> Result<(), RestoreError> {
        self.check_fresh(saved)?;
        saved.ports.iter().try_for_each(|port| self.check_loop(saved, port))?;
        // This order: the layout of the words decides how the blocks are mapped, the ABI which ports there can be.
        self.set_callback_via(host, CallbackVia::from_param(saved.callback)?, saved.word_size)?;
        for (vcpu, number) in saved.vcpus.iter().zip(0..) {
            if let Some(place) = vcpu.info {
                self.map_vcpu_info(host, &mut self.lock(), VcpuId(number), place)?;
            }
        }
        if let Some(gfns) = &saved.array_gfns {
            for (vcpu, number) in saved.vcpus.iter().zip(0..) {
                if let Some(place) = vcpu.control {
                    self.init_control(host, VcpuId(number), place)?;
                }
            }
            gfns.iter().try_for_each(|gfn| self.expand_array(host, *gfn))?;
            self.empty_queues(host);
        }
        if let Some((gfn, unmask)) = saved.pirq_eoi {
            self.register_pirq_eoi_page(host, gfn, unmask)?;
        }
        if let Some(last) = saved.ports.last() {
            self.allocate_up_to(last.port)?;
        }
        saved.ports.iter().try_for_each(|port| self.restore_port(host, port))?;
        for port in &saved.ports {
            self.raise_again(host, port.port);
        }
        for (vcpu, number) in saved.vcpus.iter().zip(0..) {
            self.vcpu(VcpuId(number))?.upcall_vector.store(vcpu.upcall_vector, Ordering::Release);
            if let Some(info) = self.vcpu_info(host, VcpuId(number)) {
                info.select_all();
                info.raise_upcall();
            }
            self.call(host, VcpuId(number));
        }
        Ok(())
    }

    fn check_fresh(&self, saved: &SavedEvents) -> Result<(), RestoreError> {
        let structure = self.lock();
        let places = &structure.places;
        let has_pages = !places.vcpu_infos.is_empty() || !places.controls.is_empty() || places.pirq_eoi.is_some();
        if structure.open != 0 || structure.life != Life::Alive || has_pages {
            return Err(RestoreError::NotFresh);
        }
        if saved.vcpus.len() != self.vcpus.len() {
            return Err(RestoreError::Vcpus { saved: saved.vcpus.len(), present: self.vcpus.len() });
        }
        Ok(())
    }

    /// Takes every port off whatever queue the old host had it in.
    fn empty_queues<H: Host<Lock = L>>(&self, host: &H) {
        let Some(fifo) = self.fifo_in_use() else { return };
        for word in (0..self.port_limit()).map_while(|number| fifo.word(host, Port(number))) {
            word.0.fetch_and(!(LINKED | LINK_MASK | BUSY), Ordering::AcqRel);
        }
    }

    fn restore_port<H: Host<Lock = L>>(&self, host: &H, saved: &SavedPort) -> Result<(), RestoreError> {
        let refused = RestoreError::Port(saved.port);
        let mut structure = self.lock();
        self.vcpu(VcpuId(saved.vcpu))?;
        let slot = self.ports.get(saved.port).ok_or(refused)?;
        if slot.binding() != Binding::Free {
            return Err(refused);
        }
        let binding = match saved.binding {
            Binding::Free | Binding::Reserved => return Err(refused),
            Binding::Interdomain { remote, .. } if remote != self.id => Binding::Unbound { remote },
            Binding::Virq(virq) => {
                let is_elsewhere = virq.class() == VirqClass::Global && host.virq_handlers().get(virq) != self.id;
                let vcpu = if virq.class() == VirqClass::PerVcpu { VcpuId(saved.vcpu) } else { VcpuId(0) };
                let vcpu = self.vcpu(vcpu)?;
                if is_elsewhere || vcpu.virq_port(virq).is_some() {
                    return Err(refused);
                }
                vcpu.set_virq_port(virq, Some(saved.port));
                saved.binding
            }
            Binding::Pirq(pirq) => {
                if !self.pirqs.has(pirq) || self.pirqs.port(pirq).is_some() {
                    return Err(refused);
                }
                if self.kind == DomainKind::Pv {
                    let taken = host.bind_pirq(self.id, pirq, Sharing::Shared);
                    taken.map_err(|reason| EventError::PirqRefused { pirq, reason })?;
                }
                self.pirqs.set_port(pirq, Some(saved.port));
                self.pirq_bound(host, &structure, pirq);
                saved.binding
            }
            Binding::Unbound { .. } | Binding::Interdomain { .. } | Binding::Ipi => saved.binding,
        };
        let mut bound = slot.lock();
        bound.set(binding);
        slot.set_route(Route { vcpu: VcpuId(saved.vcpu), priority: FifoPriority::from_low_bits(saved.priority) });
        if saved.unraised {
            slot.keep_unraised();
        }
        structure.open += 1;
        Ok(())
    }

    /// Makes every number up to a port valid, as they were.
    fn allocate_up_to(&self, port: Port) -> Result<(), RestoreError> {
        let _structure = self.lock();
        if port.0 >= self.port_limit() {
            return Err(RestoreError::Port(port));
        }
        for number in (0..=port.0).step_by(PORTS_PER_BUCKET) {
            self.ports.get_or_allocate(Port(number));
        }
        Ok(())
    }

    /// A port connected to one of the same domain must be that one's peer too.
    fn check_loop(&self, saved: &SavedEvents, own: &SavedPort) -> Result<(), RestoreError> {
        let Binding::Interdomain { remote, port } = own.binding else { return Ok(()) };
        if remote != self.id {
            return Ok(());
        }
        let peer = saved.ports.binary_search_by_key(&port, |saved| saved.port).map(|index| saved.ports[index].binding);
        let is_mutual = peer == Ok(Binding::Interdomain { remote, port: own.port }) && port != own.port;
        if is_mutual { Ok(()) } else { Err(RestoreError::Port(own.port)) }
    }

    /// Delivers again what the guest's own pages say is pending.
    fn raise_again<H: Host<Lock = L>>(&self, host: &H, port: Port) {
        let Some(slot) = self.ports.get(port) else { return };
        let _bound = slot.lock();
        if let Some(fifo) = self.fifo_in_use()
            && (self.is_pending(host, port) || slot.has_unraised())
        {
            self.fifo_set_pending(host, fifo, port, slot);
        }
    }
}

/// The ports of saved event channels that another domain has to connect to again.
#[must_use]
pub fn reconnections(saved: &SavedEvents) -> Vec<SavedPort> {
    saved.ports.iter().copied().filter(|port| matches!(port.binding, Binding::Interdomain { .. })).collect()
}
