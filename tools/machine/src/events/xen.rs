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

use super::pages::Extent;
use super::pages::Pages;
use super::pages::SHARED_INFO_GFN;
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
    pages: Vec<Pages>,
    handlers: VirqHandlers,
    /// Calls of guests' vCPUs since the last look.
    kicks: AtomicU32,
}

impl Xen {
    /// No domain but the backend, which will have so many ports.
    pub(super) fn new(backend_ports: u32) -> Result<Self, DomainError> {
        let mut xen = Self {
            domains: Vec::new(),
            pages: Vec::new(),
            handlers: VirqHandlers::new(BACKEND),
            kicks: AtomicU32::new(0),
        };
        let extent = Extent { abi: EventAbi::Fifo, vcpus: 1, ports: 0, pirqs: 0 };
        xen.add(DomainKind::Pv, Extent { ports: backend_ports, ..extent }, Pages::new(extent))?;
        Ok(xen)
    }

    /// Gives the backend the FIFO ABI, which has ports for all. It takes no events, so it needs no event words.
    pub(super) fn start_backend(&self) -> Result<(), EventError> {
        let Some((_, place)) = self.pages(BACKEND).and_then(|pages| pages.control(VcpuId(0))) else { return Ok(()) };
        let place = GuestPlace { gfn: place.gfn.0, offset: place.offset };
        self.domain(BACKEND).map_or(Ok(()), |backend| backend.init_control(self, VcpuId(0), place).map(drop))
    }

    /// Adds a domain under the next number.
    pub(super) fn add(&mut self, kind: DomainKind, extent: Extent, pages: Pages) -> Result<(), DomainError> {
        let id = DomainId(u16::try_from(self.domains.len()).unwrap_or(u16::MAX));
        self.pages.push(pages);
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

    pub(super) fn pages(&self, id: DomainId) -> Option<&Pages> {
        self.pages.get(usize::from(id.0))
    }

    /// How often guests' vCPUs were called since the last look.
    pub(super) fn take_kicks(&self) -> u32 {
        self.kicks.swap(0, Ordering::Relaxed)
    }
}

/// A handle is a domain's number, and above it one more than a structure's among those of its layout.
fn handle(domain: DomainId, index: usize) -> Option<NonZeroU64> {
    NonZeroU64::new((u64::try_from(index).ok()? + 1) << 16 | u64::from(domain.0))
}

impl GuestMemory for Xen {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        let index = self.pages(domain).and_then(|pages| pages.index::<T>(place));
        let number = index.and_then(|index| handle(domain, index));
        number.map(Pinned::new).ok_or(PinError::NotMemory { domain, place })
    }

    fn unpin<T: Shared>(&self, _: Pinned<T>) {}

    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        let number = pinned.number().get();
        let [low, high, ..] = number.to_le_bytes();
        let index = usize::try_from((number >> 16).checked_sub(1)?).ok()?;
        self.pages(DomainId(u16::from_le_bytes([low, high])))?.get(index)
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
            self.kicks.fetch_add(1, Ordering::Relaxed);
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
