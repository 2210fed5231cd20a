//! A hypervisor of a few domains on heap memory, which writes down what it is asked to do.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::mem;
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
use parking_lot::Mutex;
use parking_lot::RawMutex;

use crate::irqs::Irqs;

/// Frames from here on are not memory.
pub(crate) const END_GFN: u64 = 0x1000;
/// The frame of every test domain's shared page.
pub(crate) const SHARED_INFO_GFN: u64 = 1;

pub(crate) type TestDomain = Domain<RawMutex>;

/// What the tests set about the hypervisor, and what it wrote down.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    actions: Vec<Action>,
    paused: BTreeSet<DomainId>,
    disabled_apics: BTreeSet<(DomainId, VcpuId)>,
    denied_pirqs: BTreeSet<u32>,
    busy_pirqs: BTreeSet<u32>,
    pub(crate) irqs: Irqs,
}

#[derive(Debug)]
pub(crate) struct TestHost {
    pub(crate) memory: HeapMemory<RawMutex>,
    domains: BTreeMap<DomainId, TestDomain>,
    handlers: VirqHandlers,
    pub(crate) notes: Mutex<Notes>,
    /// How many looks until the CPU is wanted elsewhere; 0 for never.
    pub(crate) preempt_after: AtomicU32,
}

/// A PV domain with two vCPUs, 64-bit words and the toolstack's usual limit.
pub(crate) fn domain(id: u16) -> DomainConfig {
    DomainConfig {
        id: DomainId(id),
        kind: DomainKind::Pv,
        privilege: if id == 0 { Privilege::Control } else { Privilege::None },
        word_size: WordSize::Bits64,
        vcpus: 2,
        max_port: 1023,
        pirqs: 64,
        shared_info_gfn: SHARED_INFO_GFN,
    }
}

impl TestHost {
    pub(crate) fn new(configs: impl IntoIterator<Item = DomainConfig>) -> Self {
        let memory = HeapMemory::new(512, END_GFN);
        let domains = configs.into_iter().map(|config| {
            let domain = Domain::new(config, &memory).expect("a domain that can be created");
            (config.id, domain)
        });
        let domains = domains.collect();
        Self {
            domains,
            memory,
            handlers: VirqHandlers::new(DomainId::DOM0),
            notes: Mutex::default(),
            preempt_after: AtomicU32::new(0),
        }
    }

    pub(crate) fn get(&self, id: u16) -> &TestDomain {
        &self.domains[&DomainId(id)]
    }

    /// The actions since the last look.
    pub(crate) fn take_actions(&self) -> Vec<Action> {
        mem::take(&mut self.notes.lock().actions)
    }

    /// How many kicks of a vCPU there were since the last look.
    pub(crate) fn take_kicks(&self, domain: u16, vcpu: u32) -> usize {
        let kick = Action::Kick { domain: DomainId(domain), vcpu: VcpuId(vcpu) };
        self.take_actions().into_iter().filter(|action| *action == kick).count()
    }

    pub(crate) fn pause(&self, id: u16) {
        self.notes.lock().paused.insert(DomainId(id));
    }

    pub(crate) fn disable_apic(&self, domain: u16, vcpu: u32) {
        self.notes.lock().disabled_apics.insert((DomainId(domain), VcpuId(vcpu)));
    }

    pub(crate) fn enable_apic(&self, domain: u16, vcpu: u32) {
        self.notes.lock().disabled_apics.remove(&(DomainId(domain), VcpuId(vcpu)));
        self.get(domain).local_apic_enabled(self, VcpuId(vcpu)).expect("a vCPU");
    }

    pub(crate) fn deny_pirq(&self, pirq: u32) {
        self.notes.lock().denied_pirqs.insert(pirq);
    }

    pub(crate) fn occupy_pirq(&self, pirq: u32) {
        self.notes.lock().busy_pirqs.insert(pirq);
    }
}

impl GuestMemory for TestHost {
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

impl Host for TestHost {
    type Lock = RawMutex;

    fn domain(&self, id: DomainId) -> Option<&TestDomain> {
        self.domains.get(&id)
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.handlers
    }

    fn act(&self, action: Action) {
        self.notes.lock().actions.push(action);
    }

    fn is_paused(&self, domain: DomainId) -> bool {
        self.notes.lock().paused.contains(&domain)
    }

    fn is_preempted(&self) -> bool {
        // Counts down to 1, says yes once, and stands at 0.
        self.preempt_after.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)) == Ok(1)
    }

    fn is_local_apic_enabled(&self, domain: DomainId, vcpu: VcpuId) -> bool {
        !self.notes.lock().disabled_apics.contains(&(domain, vcpu))
    }

    fn may_use_pirq(&self, _: DomainId, pirq: u32) -> bool {
        !self.notes.lock().denied_pirqs.contains(&pirq)
    }

    fn bind_pirq(&self, _: DomainId, pirq: u32, sharing: Sharing) -> Result<(), Errno> {
        let busy = self.notes.lock().busy_pirqs.contains(&pirq);
        if busy && sharing == Sharing::Exclusive { Err(Errno::Busy) } else { Ok(()) }
    }
}
