//! A host of event channels: its domains, their memory, and the functions it calls.
//!
//! ```text
//! carillon_event_*       ──► lock for reading ──► Call ──► the core     many at once
//! create, destroy        ──► lock for writing ──► Call ──► the core     alone, after all that were under way
//! ```
//!
//! The core trades handles for references into the caller's memory. They live as long as the [`Call`], which holds the
//! lock, and a domain's memory is let go under the lock for writing: so no reference outlives the memory.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::num::NonZeroU64;
use std::ptr;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::PAGE_SIZE;
use hypervisor_abi::Shared;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestMemory;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::Host;
use hypervisor_lib::event::PinError;
use hypervisor_lib::event::Pinned;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VirqHandlers;
use hypervisor_lib::event::WordSize;
use parking_lot::RawMutex;
use parking_lot::RwLock;

use super::callbacks::Callbacks;
use super::callbacks::EventCallbacks;
use super::domain_id;
use crate::classifier::domain_kind;
use crate::handle::Object;
use crate::pointer::Plain;
use crate::status::Failure;
use crate::status::Status;

/// What a domain may do to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Privilege {
    /// Nothing.
    None = 0,
    /// Anything: it is a control domain.
    Control = 1,
    /// Anything to one domain, whose device model it runs.
    Over = 2,
}

/// What a domain is created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DomainOptions {
    /// Its number, below 0x7ff0.
    pub id: u32,
    /// One of `carillon_domain_kind`.
    pub kind: u32,
    /// One of `carillon_privilege`.
    pub privilege: u32,
    /// The domain it has power over, with `CARILLON_PRIVILEGE_OVER`.
    pub client: u32,
    /// How wide its words are when it starts: 32 or 64 bits.
    pub word_bits: u32,
    /// How many vCPUs it has, 1 to 4096.
    pub vcpus: u32,
    /// The highest port it may use (`max_event_channels`).
    pub max_port: u32,
    /// One more than the highest physical IRQ it can map.
    pub pirqs: u32,
    /// The frame of its shared page.
    pub shared_info_gfn: u64,
}

// SAFETY: integers.
unsafe impl Plain for DomainOptions {}

/// A guest's frames in the caller's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    /// Its address: page-aligned, and not null.
    base: usize,
    pages: u64,
    first_gfn: u64,
}

impl Region {
    /// Frames at an address.
    ///
    /// # Safety
    /// `at` is null or points to `size` bytes that can be read and written until the domain they are given to is destroyed,
    /// and that whoever else writes does so by atomic operations or not at all in terms of this program.
    pub(super) unsafe fn new(at: *mut c_void, size: usize, first_gfn: u64) -> Result<Self, Failure> {
        if at.is_null() {
            return Err(Failure::new(Status::NullPointer, "memory is null"));
        }
        let base = at.expose_provenance();
        if !base.is_multiple_of(PAGE_SIZE) {
            return Err(Failure::new(Status::BadValue, format!("memory at {base:#x} is not page-aligned")));
        }
        if size == 0 || !size.is_multiple_of(PAGE_SIZE) || base.checked_add(size).is_none() {
            return Err(Failure::new(Status::WrongSize, format!("{size} bytes are no number of pages at {base:#x}")));
        }
        Ok(Self { base, pages: (size / PAGE_SIZE) as u64, first_gfn })
    }

    /// The address of a place for a `T`; none if the place is not all here or not aligned.
    fn address<T: Shared>(&self, place: GuestPlace) -> Option<NonZeroU64> {
        let page = place.gfn.checked_sub(self.first_gfn).filter(|page| *page < self.pages)?;
        let is_aligned = (place.offset as usize).is_multiple_of(align_of::<T>());
        if !place.fits(size_of::<T>()) || !is_aligned {
            return None;
        }
        NonZeroU64::new(self.base as u64 + page * PAGE_SIZE as u64 + u64::from(place.offset))
    }
}

/// Who lives on a host.
#[derive(Default)]
struct Residents {
    domains: BTreeMap<DomainId, Domain<RawMutex>>,
    regions: BTreeMap<DomainId, Region>,
}

/// A host of event channels.
pub(super) struct EventHost {
    callbacks: Callbacks,
    handlers: VirqHandlers,
    residents: RwLock<Residents>,
}

impl EventHost {
    pub(super) fn new(callbacks: &EventCallbacks, hardware_domain: DomainId) -> Result<Self, Failure> {
        let callbacks = Callbacks::new(callbacks)?;
        Ok(Self { callbacks, handlers: VirqHandlers::new(hardware_domain), residents: RwLock::default() })
    }

    pub(super) fn create_domain(&self, options: &DomainOptions, region: Region) -> Result<(), Failure> {
        let config = options.config()?;
        let mut residents = self.residents.write();
        if residents.domains.contains_key(&config.id) {
            return Err(Failure::new(Status::WrongState, format!("there is a domain {} already", config.id)));
        }
        residents.regions.insert(config.id, region);
        match Domain::new(config, &self.call(&residents, Patience::Preemptible)) {
            Ok(domain) => {
                residents.domains.insert(config.id, domain);
                Ok(())
            }
            Err(error) => {
                residents.regions.remove(&config.id);
                Err(error.into())
            }
        }
    }

    pub(super) fn destroy_domain(&self, id: DomainId) -> Result<(), Failure> {
        let mut residents = self.residents.write();
        let domain = residents.domains.get(&id).ok_or(EventError::NoDomain(id))?;
        domain.destroy(&self.call(&residents, Patience::Preemptible))?;
        residents.domains.remove(&id);
        residents.regions.remove(&id);
        Ok(())
    }

    /// Works on a domain; others may do so at the same time.
    pub(super) fn on_domain<R>(
        &self,
        id: DomainId,
        work: impl FnOnce(&Domain<RawMutex>, &Call<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        self.on_host(|call| work(call.domain(id).ok_or(EventError::NoDomain(id))?, call))
    }

    /// Works on the host as a whole; others may do so at the same time.
    pub(super) fn on_host<R>(&self, work: impl FnOnce(&Call<'_>) -> Result<R, Failure>) -> Result<R, Failure> {
        let residents = self.residents.read();
        work(&self.call(&residents, Patience::Preemptible))
    }

    const fn call<'h>(&'h self, residents: &'h Residents, patience: Patience) -> Call<'h> {
        Call { host: self, residents, patience }
    }
}

impl Object for EventHost {
    const NAME: &'static str = "an event host";

    /// Ends all domains, so that the caller can free their memory.
    fn close(&self) {
        let mut residents = self.residents.write();
        let call = self.call(&residents, Patience::Unbroken);
        for domain in residents.domains.values() {
            // It is broken off only where the call says so, and this one does not.
            let ended = domain.destroy(&call);
            debug_assert_eq!(ended, Ok(()));
        }
        *residents = Residents::default();
    }
}

impl DomainOptions {
    fn config(&self) -> Result<DomainConfig, Failure> {
        Ok(DomainConfig {
            id: domain_id(self.id)?,
            kind: domain_kind(self.kind)?,
            privilege: match self.privilege {
                n if n == Privilege::None as u32 => event::Privilege::None,
                n if n == Privilege::Control as u32 => event::Privilege::Control,
                n if n == Privilege::Over as u32 => event::Privilege::Over(domain_id(self.client)?),
                n => return Err(Failure::value("privilege", n)),
            },
            word_size: word_size(self.word_bits)?,
            vcpus: self.vcpus,
            max_port: self.max_port,
            pirqs: self.pirqs,
            shared_info_gfn: self.shared_info_gfn,
        })
    }
}

/// How wide a guest's words are.
pub(super) fn word_size(bits: u32) -> Result<WordSize, Failure> {
    match bits {
        32 => Ok(WordSize::Bits32),
        64 => Ok(WordSize::Bits64),
        other => Err(Failure::value("number of bits of a word: 32 or 64", other)),
    }
}

/// Whether long operations ask if the CPU is wanted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Preemptible,
    Unbroken,
}

/// A host for the length of one call: what the core asks for.
pub(super) struct Call<'h> {
    host: &'h EventHost,
    residents: &'h Residents,
    patience: Patience,
}

impl GuestMemory for Call<'_> {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        let region = self.residents.regions.get(&domain);
        let address = region.and_then(|region| region.address::<T>(place));
        address.map(Pinned::new).ok_or(PinError::NotMemory { domain, place })
    }

    /// The whole of a domain's memory stays until it is destroyed.
    fn unpin<T: Shared>(&self, _: Pinned<T>) {}

    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        let address = usize::try_from(pinned.number().get()).ok()?;
        let at: *const T = ptr::with_exposed_provenance(address);
        // SAFETY: the core gets handles from `pin` alone, of domains that were there then, and keeps none of a domain that was
        // destroyed; domains are destroyed under the lock for writing, and this call holds the lock. So the address is of a
        // place that `Region::address` found whole and aligned inside memory that its owner keeps, readable and writable,
        // until the domain is gone. The type is one of hypervisor-abi's layouts (`Shared` is sealed): atomics, for which all
        // bits are valid, so that a guest's writes at the same time are no undefined behaviour.
        Some(unsafe { &*at })
    }
}

impl Host for Call<'_> {
    type Lock = RawMutex;

    fn domain(&self, id: DomainId) -> Option<&Domain<RawMutex>> {
        self.residents.domains.get(&id)
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.host.handlers
    }

    fn act(&self, action: Action) {
        self.host.callbacks.act(action);
    }

    fn is_paused(&self, domain: DomainId) -> bool {
        self.host.callbacks.is_paused(domain)
    }

    fn is_preempted(&self) -> bool {
        self.patience == Patience::Preemptible && self.host.callbacks.is_preempted()
    }

    fn is_local_apic_enabled(&self, domain: DomainId, vcpu: VcpuId) -> bool {
        self.host.callbacks.is_local_apic_enabled(domain, vcpu)
    }

    fn may_use_pirq(&self, domain: DomainId, pirq: u32) -> bool {
        self.host.callbacks.may_use_pirq(domain, pirq)
    }

    fn bind_pirq(&self, domain: DomainId, pirq: u32, sharing: Sharing) -> Result<(), Errno> {
        self.host.callbacks.bind_pirq(domain, pirq, sharing)
    }
}
