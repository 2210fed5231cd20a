//! The hypervisor's side: hypervisor-lib's domains, and what they need of a hypervisor.

use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Shared;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::DomainError;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestMemory;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::Host;
use hypervisor_lib::event::PinError;
use hypervisor_lib::event::Pinned;
use hypervisor_lib::event::Privilege;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VirqHandlers;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;

use super::memory::Extent;
use super::memory::Memory;
use super::memory::Pages;
use super::memory::SHARED_INFO_GFN;
use crate::EventAbi;

/// The lock of the machine's event channels. One thread drives the machine, so it is never waited for.
pub(super) type Lock = spinning_top::RawSpinlock;

/// The domain that sends all software events: a backend such as a device model, which the machine does not run. Guests
/// follow it.
pub(super) const BACKEND: DomainId = DomainId(0);

/// The hypervisor's side of all domains.
#[derive(Debug)]
pub(super) struct Xen {
    /// By number, the backend first.
    domains: Vec<Domain<Lock>>,
    memory: Memory,
    handlers: VirqHandlers,
    /// Calls of guests' vCPUs since the last look. One thread drives the machine, so counting is a load and a store.
    kicks: AtomicU32,
}

/// What the backend needs: it takes no events, so its ports need no event words.
pub(super) const BACKEND_EXTENT: Extent = Extent { abi: EventAbi::Fifo, vcpus: 1, ports: 0, pirqs: 0 };

impl Xen {
    /// No domain but the backend, which will have so many ports.
    pub(super) fn new(memory: Memory, backend_ports: u32) -> Result<Self, DomainError> {
        let (handlers, kicks) = (VirqHandlers::new(BACKEND), AtomicU32::new(0));
        let mut xen = Self { domains: Vec::new(), memory, handlers, kicks };
        xen.add(DomainKind::Pv, Extent { ports: backend_ports, ..BACKEND_EXTENT })?;
        Ok(xen)
    }

    /// Gives the backend the FIFO ABI, which has ports for all.
    pub(super) fn start_backend(&self) -> Result<(), EventError> {
        let Some((_, place)) = self.pages(BACKEND).and_then(|pages| pages.control(VcpuId(0))) else { return Ok(()) };
        let place = GuestPlace { gfn: place.gfn.0, offset: place.offset };
        self.domain(BACKEND).map_or(Ok(()), |backend| backend.init_control(self, VcpuId(0), place).map(drop))
    }

    /// Adds a domain under the next number.
    pub(super) fn add(&mut self, kind: DomainKind, extent: Extent) -> Result<(), DomainError> {
        let id = DomainId(u16::try_from(self.domains.len()).unwrap_or(u16::MAX));
        let config = DomainConfig {
            id,
            kind,
            privilege: Privilege::None,
            word_size: WordSize::Bits64,
            vcpus: extent.vcpus,
            max_port: extent.ports,
            pirqs: extent.pirqs,
            shared_info_gfn: SHARED_INFO_GFN,
        };
        let domain = Domain::new(config, self)?;
        self.domains.push(domain);
        Ok(())
    }

    /// The guests' numbers.
    pub(super) fn guests(&self) -> impl Iterator<Item = DomainId> + use<> {
        (1..).map(DomainId).take(self.domains.len().saturating_sub(1))
    }

    pub(super) fn pages(&self, id: DomainId) -> Option<Pages<'_>> {
        self.memory.of(id)
    }

    /// How often guests' vCPUs were called since the last look.
    pub(super) fn take_kicks(&self) -> u32 {
        let kicks = self.kicks.load(Ordering::Relaxed);
        self.kicks.store(0, Ordering::Relaxed);
        kicks
    }
}

/// A handle is one more than a structure's number among all of its layout.
impl GuestMemory for Xen {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        let index = self.memory.index::<T>(domain, place).and_then(|index| u64::try_from(index + 1).ok());
        index.and_then(NonZeroU64::new).map(Pinned::new).ok_or(PinError::NotMemory { domain, place })
    }

    fn unpin<T: Shared>(&self, _: Pinned<T>) {}

    #[inline]
    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        self.memory.get(usize::try_from(pinned.number().get() - 1).ok()?)
    }
}

impl Host for Xen {
    type Lock = Lock;

    fn domain(&self, id: DomainId) -> Option<&Domain<Lock>> {
        self.domains.get(usize::from(id.0))
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.handlers
    }

    /// The guests' upcalls come by kick alone: paravirtual ones have no vector, the others are called by the domain's.
    /// Their physical IRQs move with the machine's own interrupts.
    fn act(&self, action: Action) {
        if let Action::Kick { domain, .. } = action
            && domain != BACKEND
        {
            self.kicks.store(self.kicks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    fn is_paused(&self, _: DomainId) -> bool {
        false
    }

    fn is_preempted(&self) -> bool {
        false
    }

    fn is_local_apic_enabled(&self, _: DomainId, _: VcpuId) -> bool {
        true
    }

    fn may_use_pirq(&self, domain: DomainId, _: u32) -> bool {
        domain != BACKEND
    }

    fn bind_pirq(&self, _: DomainId, _: u32, _: Sharing) -> Result<(), Errno> {
        Ok(())
    }
}
