//! What holds of a domain's event channels between operations, whatever its guest does: the invariants.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::virq::NR_VIRQS;
use hypervisor_abi::virq::VirqClass;
use lock_api::RawMutex;

use super::domain::Domain;
use super::domain::EventAbi;
use super::domain::Structure;
use super::host::Host;
use super::slot::Binding;
use super::slot::Slot;
use super::vcpu::NOT_POLLING;
use super::vcpu::Vcpu;

/// An invariant does not hold: a bug of this crate, whatever a guest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenInvariant {
    /// The counts of open ports are wrong.
    #[error("{domain} counts {counted} ports of one kind, and has {found}")]
    Count {
        /// Whose ports.
        domain: DomainId,
        /// How many it counts.
        counted: u32,
        /// How many there are.
        found: u32,
    },
    /// A free port lies below the one that is said to be the lowest.
    #[error("{1} of {0} is free and lies below the lowest free port")]
    FreeBelowLowest(DomainId, Port),
    /// The port's peer is not connected to it.
    #[error("{1} of {0} is connected to a port that is not connected to it")]
    OneSided(DomainId, Port),
    /// The port's source is not bound to it.
    #[error("{1} of {0} is bound to a source that is bound elsewhere")]
    SourceElsewhere(DomainId, Port),
    /// A virtual IRQ is bound to a port that is not bound to it.
    #[error("{1} of {0} is bound to a port of something else")]
    StrayVirq(DomainId, Virq),
    /// A physical IRQ is bound to a port that is not bound to it.
    #[error("physical IRQ {1} of {0} is bound to a port of something else")]
    StrayPirq(DomainId, u32),
    /// An IRQ is behind a physical IRQ that something else is behind.
    #[error("irq {1} of {0} is behind a physical IRQ of something else")]
    StrayIrq(DomainId, u32),
    /// A port's events go to, or are in a queue of, a vCPU that does not exist.
    #[error("{1} of {0} has a route to {2}, which does not exist")]
    NoSuchQueue(DomainId, Port, VcpuId),
    /// The number of polls is wrong.
    #[error("{domain} counts {counted} polls, and has {found}")]
    Polls {
        /// Whose polls.
        domain: DomainId,
        /// How many it counts.
        counted: u32,
        /// How many there are.
        found: u32,
    },
    /// FIFO pages are pinned that the ABI in use has no place for, or with a gap.
    #[error("{0} has FIFO pages pinned out of place")]
    StrayPages(DomainId),
    /// A queue's tail is no port the domain has.
    #[error("a queue of {0} ends with {1}, which does not exist")]
    StrayTail(DomainId, Port),
}

impl<L: RawMutex> Domain<L> {
    /// Checks the invariants. They hold whenever no operation is under way, on this domain or on one it is connected to; the
    /// caller sees to that.
    ///
    /// # Errors
    /// The first [`BrokenInvariant`].
    pub fn check<H: Host<Lock = L>>(&self, host: &H) -> Result<(), BrokenInvariant> {
        self.check_counts(&self.lock())?;
        for (port, slot) in self.ports.existing(0..self.max_port + 1) {
            self.check_port(host, port, slot)?;
        }
        self.check_sources()?;
        if let Some(irq) = self.lock().pirqs.stray_irq(&self.pirqs) {
            return Err(BrokenInvariant::StrayIrq(self.id, irq));
        }
        self.check_polls()?;
        match self.fifo.get() {
            Some(fifo) => fifo.check(self),
            None if self.abi() == EventAbi::Fifo => Err(BrokenInvariant::StrayPages(self.id)),
            None => Ok(()),
        }
    }

    fn check_counts(&self, structure: &Structure) -> Result<(), BrokenInvariant> {
        let (mut open, mut consumed) = (0, 0);
        for (port, slot) in self.ports.existing(1..self.max_port + 1) {
            let is_open = slot.binding().is_open();
            open += u32::from(is_open);
            consumed += u32::from(slot.consumer().is_some());
            if !is_open && port.0 < structure.lowest_free {
                return Err(BrokenInvariant::FreeBelowLowest(self.id, port));
            }
        }
        for (counted, found) in [(structure.open, open), (structure.consumed, consumed)] {
            if counted != found {
                return Err(BrokenInvariant::Count { domain: self.id, counted, found });
            }
        }
        Ok(())
    }

    fn check_port<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: &Slot<L>) -> Result<(), BrokenInvariant> {
        for route in [slot.route(), slot.last_queue()] {
            if route.vcpu.index() >= self.vcpus.len() {
                return Err(BrokenInvariant::NoSuchQueue(self.id, port, route.vcpu));
            }
        }
        let bound_back = match slot.binding() {
            Binding::Virq(virq) => {
                let vcpu = if virq.class() == VirqClass::PerVcpu { slot.route().vcpu } else { VcpuId(0) };
                self.vcpus[vcpu.index()].virq_port(virq) == Some(port)
            }
            Binding::Pirq(pirq) => self.pirqs.port(pirq) == Some(port),
            Binding::Interdomain { remote, port: theirs } => {
                let peer = if remote == self.id { Some(self) } else { host.domain(remote) };
                let back = peer.and_then(|peer| peer.ports.get(theirs)).map(Slot::binding);
                if back != Some(Binding::Interdomain { remote: self.id, port }) {
                    return Err(BrokenInvariant::OneSided(self.id, port));
                }
                true
            }
            Binding::Free | Binding::Reserved | Binding::Unbound { .. } | Binding::Ipi => true,
        };
        if bound_back { Ok(()) } else { Err(BrokenInvariant::SourceElsewhere(self.id, port)) }
    }

    fn check_sources(&self) -> Result<(), BrokenInvariant> {
        let binding = |port: Port| self.ports.get(port).map(Slot::binding);
        for vcpu in &self.vcpus {
            for virq in (0..).map_while(|number| Virq::new(number).ok()).take(NR_VIRQS) {
                let port = vcpu.virq_port(virq);
                if port.is_some_and(|port| binding(port) != Some(Binding::Virq(virq))) {
                    return Err(BrokenInvariant::StrayVirq(self.id, virq));
                }
            }
        }
        for pirq in (0..).take_while(|pirq| self.pirqs.has(*pirq)) {
            let port = self.pirqs.port(pirq);
            if port.is_some_and(|port| binding(port) != Some(Binding::Pirq(pirq))) {
                return Err(BrokenInvariant::StrayPirq(self.id, pirq));
            }
        }
        Ok(())
    }

    fn check_polls(&self) -> Result<(), BrokenInvariant> {
        let counted = self.polling.load(Ordering::SeqCst);
        let is_polling = |vcpu: &&Vcpu| vcpu.poll.load(Ordering::SeqCst) != NOT_POLLING;
        let found = u32::try_from(self.vcpus.iter().filter(is_polling).count()).unwrap_or(u32::MAX);
        if counted == found { Ok(()) } else { Err(BrokenInvariant::Polls { domain: self.id, counted, found }) }
    }
}
