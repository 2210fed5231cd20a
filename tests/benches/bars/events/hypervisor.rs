//! A hypervisor as a user of hypervisor-lib would write it, with all that is not the library's business left out: two
//! domains, guest memory that is found by an index, kicks that are counted.
//!
//! Domain 0 sends, domain 1 is the guest.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use guest_shim::Hypercalls;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Shared;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::event;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::page::AnyShared;
use hypervisor_abi::page::PageKind;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::DomainConfig;
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
use lock_api::RawMutex;

/// Who sends.
pub(crate) const SENDER: DomainId = DomainId::DOM0;
/// Who takes the events.
pub(crate) const GUEST: DomainId = DomainId(1);

/// The guest's memory: the frame of a structure is its place among those of its kind.
#[derive(Debug)]
struct Pages {
    /// The only structure that both domains have; by domain.
    shared_infos: Box<[SharedInfo64]>,
    vcpu_infos: Box<[VcpuInfo64]>,
    controls: Box<[ControlBlock]>,
    arrays: Box<[EventArray]>,
}

/// The sender's highest port.
const SENDER_MAX_PORT: u32 = 1023;

/// How large the guest is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) vcpus: u32,
    /// Port 0 included.
    pub(crate) ports: u32,
}

impl Pages {
    fn new(size: Size) -> Self {
        fn make<T: Default>(count: usize) -> Box<[T]> {
            std::iter::repeat_with(T::default).take(count).collect()
        }
        let (vcpus, ports) = (VcpuId(size.vcpus).index(), Port(size.ports).index());
        Self {
            shared_infos: make(2),
            vcpu_infos: make(vcpus),
            controls: make(vcpus),
            arrays: make(ports.div_ceil(event::EVENT_WORDS_PER_PAGE)),
        }
    }

    #[inline]
    fn get<T: Shared>(&self, index: usize) -> Option<&T> {
        T::narrow(match T::KIND {
            PageKind::SharedInfo64 => AnyShared::SharedInfo64(self.shared_infos.get(index)?),
            PageKind::VcpuInfo64 => AnyShared::VcpuInfo64(self.vcpu_infos.get(index)?),
            PageKind::ControlBlock => AnyShared::ControlBlock(self.controls.get(index)?),
            PageKind::EventArray => AnyShared::EventArray(self.arrays.get(index)?),
            PageKind::SharedInfo32 | PageKind::VcpuInfo32 | PageKind::PirqEoiPage => return None,
        })
    }
}

/// The hypervisor.
#[derive(Debug)]
pub(crate) struct Hypervisor<L: RawMutex> {
    pages: Pages,
    domains: [Domain<L>; 2],
    handlers: VirqHandlers,
    /// How many kicks the senders asked for. One thread sends at a time, so it needs no read-modify-write.
    kicks: AtomicU64,
}

impl<L: RawMutex> Hypervisor<L> {
    pub(crate) fn new(size: Size) -> Self {
        let pages = Pages::new(size);
        let domain = |id: DomainId, vcpus, max_port| {
            let config = DomainConfig {
                id,
                kind: DomainKind::Pv,
                privilege: if id == SENDER { Privilege::Control } else { Privilege::None },
                word_size: WordSize::Bits64,
                vcpus,
                max_port,
                pirqs: 0,
                shared_info_gfn: u64::from(id.0),
            };
            Domain::new(config, &pages).expect("a domain of a bar can be")
        };
        let domains = [domain(SENDER, 1, SENDER_MAX_PORT), domain(GUEST, size.vcpus, size.ports - 1)];
        Self { pages, domains, handlers: VirqHandlers::new(SENDER), kicks: AtomicU64::new(0) }
    }

    pub(crate) fn sender(&self) -> &Domain<L> {
        &self.domains[0]
    }

    pub(crate) fn guest(&self) -> &Domain<L> {
        &self.domains[1]
    }

    /// The way in for the guest's hypercalls.
    pub(crate) fn door(&self) -> Door<'_, L> {
        Door { hypervisor: self }
    }

    pub(crate) fn shared_info(&self) -> &SharedInfo64 {
        &self.pages.shared_infos[usize::from(GUEST.0)]
    }

    pub(crate) fn vcpu_info(&self, vcpu: VcpuId) -> &VcpuInfo64 {
        &self.pages.vcpu_infos[vcpu.index()]
    }

    pub(crate) fn control(&self, vcpu: VcpuId) -> &ControlBlock {
        &self.pages.controls[vcpu.index()]
    }

    pub(crate) fn arrays(&self) -> &[EventArray] {
        &self.pages.arrays
    }

    /// What the domains' pages take.
    pub(crate) fn guest_bytes(&self) -> usize {
        let Pages { shared_infos, vcpu_infos, controls, arrays } = &self.pages;
        size_of_val(&**shared_infos) + size_of_val(&**vcpu_infos) + size_of_val(&**controls) + size_of_val(&**arrays)
    }

    /// How many kicks the senders asked for.
    pub(crate) fn kicks(&self) -> u64 {
        self.kicks.load(Ordering::Relaxed)
    }
}

impl GuestMemory for Pages {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        let index = usize::try_from(place.gfn).ok().filter(|index| self.get::<T>(*index).is_some());
        index.ok_or(PinError::NotMemory { domain, place })?;
        Ok(Pinned::new(std::num::NonZeroU64::MIN.saturating_add(place.gfn)))
    }

    fn unpin<T: Shared>(&self, _: Pinned<T>) {}

    #[inline]
    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        Self::get(self, usize::try_from(pinned.number().get() - 1).ok()?)
    }
}

impl<L: RawMutex> GuestMemory for Hypervisor<L> {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        self.pages.pin(domain, place)
    }

    fn unpin<T: Shared>(&self, pinned: Pinned<T>) {
        self.pages.unpin(pinned);
    }

    #[inline]
    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        GuestMemory::get(&self.pages, pinned)
    }
}

impl<L: RawMutex> Host for Hypervisor<L> {
    type Lock = L;

    #[inline]
    fn domain(&self, id: DomainId) -> Option<&Domain<L>> {
        self.domains.get(usize::from(id.0))
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.handlers
    }

    #[inline]
    fn act(&self, action: Action) {
        if matches!(action, Action::Kick { .. }) {
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

    fn may_use_pirq(&self, _: DomainId, _: u32) -> bool {
        false
    }

    fn bind_pirq(&self, _: DomainId, _: u32, _: Sharing) -> Result<(), Errno> {
        Err(Errno::NotPermitted)
    }
}

/// The guest's hypercalls: bytes in, a result and bytes out.
#[derive(Debug)]
pub(crate) struct Door<'h, L: RawMutex> {
    hypervisor: &'h Hypervisor<L>,
}

impl<L: RawMutex> Hypercalls for Door<'_, L> {
    fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64 {
        let result = self.hypervisor.guest().event_channel_hypercall(self.hypervisor, op, argument);
        result.map_or_else(Errno::hypercall_result, |()| 0)
    }

    fn vcpu_op(&self, _: u32, vcpu: VcpuId, _: &mut [u8]) -> i64 {
        let place = GuestPlace::frame(u64::from(vcpu.0));
        let result = self.hypervisor.guest().register_vcpu_info(self.hypervisor, vcpu, place);
        result.map_or_else(|error| error.errno().hypercall_result(), |()| 0)
    }

    fn hvm_op(&self, _: u32, _: &mut [u8]) -> i64 {
        0
    }

    fn physdev_op(&self, _: u32, _: &mut [u8]) -> i64 {
        Errno::NotImplemented.hypercall_result()
    }

    fn xen_version(&self, _: u32, _: &mut [u8]) -> i64 {
        Errno::NotImplemented.hypercall_result()
    }
}
