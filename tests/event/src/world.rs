//! A hypervisor of a few domains, numbered from 0, that counts what it is asked to do.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Shared;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::GuestMemory;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::HeapMemory;
use hypervisor_lib::event::Host;
use hypervisor_lib::event::PinError;
use hypervisor_lib::event::Pinned;
use hypervisor_lib::event::Privilege;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VirqHandlers;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;
use lock_api::RawMutex;
use parking_lot::Mutex;

use crate::door::Door;

/// Where an honest guest puts its pages.
#[derive(Clone, Copy, Debug)]
pub struct Layout;

impl Layout {
    /// The frame of every domain's shared page.
    pub const SHARED_INFO: u64 = 0;
    /// The first frame of the vCPUs' blocks and control blocks, 16 vCPUs a frame.
    pub const VCPUS: u64 = 1;
    /// The first frame of event words.
    pub const ARRAY: u64 = 5;
    /// The size of what a vCPU has in its frame, in bytes: its block, then its control block.
    const VCPU_STRIDE: u32 = 256;

    /// A vCPU's block, where it registers one.
    #[must_use]
    pub const fn info(vcpu: VcpuId) -> GuestPlace {
        GuestPlace { gfn: Self::VCPUS + vcpu.0 as u64 / 16, offset: vcpu.0 % 16 * Self::VCPU_STRIDE }
    }

    /// A vCPU's control block.
    #[must_use]
    pub const fn control(vcpu: VcpuId) -> GuestPlace {
        let info = Self::info(vcpu);
        GuestPlace { gfn: info.gfn, offset: info.offset + 64 }
    }
}

/// Guest memory a test can look at as its guest does.
pub trait View: GuestMemory {
    /// What lies at a place.
    ///
    /// # Panics
    /// The place is not memory.
    fn view<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> &T;
}

impl<L: RawMutex> View for HeapMemory<L> {
    fn view<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> &T {
        Self::view(self, domain, place).expect("a place of the domain")
    }
}

/// The hypervisor.
#[derive(Debug)]
pub struct World<M, L: RawMutex> {
    /// The guests' memory.
    pub memory: M,
    /// Whether all domains are stopped by the toolstack.
    pub are_paused: AtomicBool,
    /// After how many looks the CPU is wanted elsewhere; 0 for never.
    pub preempt_after: AtomicU32,
    domains: Vec<Domain<L>>,
    handlers: VirqHandlers,
    actions: AtomicU32,
    /// How often each vCPU was called, by whatever means.
    calls: Mutex<BTreeMap<(DomainId, VcpuId), u32>>,
}

/// A domain with two vCPUs and 64-bit words; domain 0 is the control domain.
#[must_use]
pub fn config(id: u16, kind: DomainKind) -> DomainConfig {
    DomainConfig {
        id: DomainId(id),
        kind,
        privilege: if id == 0 { Privilege::Control } else { Privilege::None },
        word_size: WordSize::Bits64,
        vcpus: 2,
        max_port: 200,
        pirqs: 8,
        shared_info_gfn: Layout::SHARED_INFO,
    }
}

impl<M: View, L: RawMutex> World<M, L> {
    /// A hypervisor with these domains; the number of each must be its place among them.
    ///
    /// # Panics
    /// A domain cannot be created so.
    pub fn new(memory: M, configs: impl IntoIterator<Item = DomainConfig>) -> Self {
        let domains = configs.into_iter().map(|config| Domain::new(config, &memory).expect("a valid configuration"));
        let domains: Vec<Domain<L>> = domains.collect();
        assert!(domains.iter().zip(0..).all(|(domain, place)| domain.id() == DomainId(place)));
        Self {
            memory,
            are_paused: AtomicBool::new(false),
            preempt_after: AtomicU32::new(0),
            domains,
            handlers: VirqHandlers::new(DomainId::DOM0),
            actions: AtomicU32::new(0),
            calls: Mutex::default(),
        }
    }

    /// A domain.
    ///
    /// # Panics
    /// There is none of this number.
    pub fn get(&self, id: DomainId) -> &Domain<L> {
        &self.domains[usize::from(id.0)]
    }

    /// The way in for a domain's hypercalls.
    pub fn door(&self, id: DomainId) -> Door<'_, M, L> {
        Door::new(self, id)
    }

    /// How often the hypervisor was asked to do anything.
    pub fn actions(&self) -> u32 {
        self.actions.load(Ordering::Relaxed)
    }

    /// How often a vCPU was called.
    pub fn calls(&self, domain: DomainId, vcpu: VcpuId) -> u32 {
        self.calls.lock().get(&(domain, vcpu)).copied().unwrap_or(0)
    }

    /// Checks every domain's invariants; no operation must be under way.
    ///
    /// # Panics
    /// One does not hold.
    pub fn check(&self) {
        for domain in &self.domains {
            if let Err(broken) = domain.check(self) {
                panic!("{broken}");
            }
        }
    }
}

impl<M: View, L: RawMutex> GuestMemory for World<M, L> {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        self.memory.pin(domain, place)
    }

    fn unpin<T: Shared>(&self, pinned: Pinned<T>) {
        self.memory.unpin(pinned);
    }

    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        self.memory.get(pinned)
    }
}

impl<M: View, L: RawMutex> Host for World<M, L> {
    type Lock = L;

    fn domain(&self, id: DomainId) -> Option<&Domain<L>> {
        self.domains.get(usize::from(id.0))
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.handlers
    }

    fn act(&self, action: Action) {
        self.actions.fetch_add(1, Ordering::Relaxed);
        if let Action::Kick { domain, vcpu } | Action::InjectVector { domain, vcpu, .. } = action {
            *self.calls.lock().entry((domain, vcpu)).or_default() += 1;
        }
    }

    fn is_paused(&self, _: DomainId) -> bool {
        self.are_paused.load(Ordering::Relaxed)
    }

    fn is_preempted(&self) -> bool {
        // Counts down to 1, says yes once, and stands at 0.
        let left = self.preempt_after.load(Ordering::Relaxed);
        self.preempt_after.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 1
    }

    fn is_local_apic_enabled(&self, _: DomainId, _: VcpuId) -> bool {
        true
    }

    fn may_use_pirq(&self, _: DomainId, pirq: u32) -> bool {
        pirq.is_multiple_of(2)
    }

    fn bind_pirq(&self, _: DomainId, pirq: u32, sharing: Sharing) -> Result<(), Errno> {
        if pirq == 2 && sharing == Sharing::Exclusive { Err(Errno::Busy) } else { Ok(()) }
    }
}
