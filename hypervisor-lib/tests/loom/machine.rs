//! A hypervisor and an honest guest under loom: one domain that talks to itself, and a second one as a peer.

use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Shared;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::FIFO_QUEUES;
use hypervisor_abi::event::LINK_MASK;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::fence;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::GuestMemory;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::HeapMemory;
use hypervisor_lib::event::Host;
use hypervisor_lib::event::PinError;
use hypervisor_lib::event::Pinned;
use hypervisor_lib::event::Privilege;
use hypervisor_lib::event::ResetStep;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VirqHandlers;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;
use loom::thread;

use crate::lock::LoomLock;

pub(crate) const V0: VcpuId = VcpuId(0);
pub(crate) const V1: VcpuId = VcpuId(1);
const SHARED_INFO_GFN: u64 = 1;
const CONTROL_GFN: u64 = 2;
pub(crate) const ARRAY_GFN: u64 = 4;

pub(crate) struct Machine {
    memory: HeapMemory<parking_lot::RawMutex>,
    domains: [Domain<LoomLock>; 2],
    handlers: VirqHandlers,
    actions: Mutex<Vec<Action>>,
}

impl Machine {
    /// Two PV domains, 0 and 1, each with two vCPUs.
    pub(crate) fn new() -> Self {
        let memory = HeapMemory::new(16, 16);
        let domain = |id| {
            let config = DomainConfig {
                id: DomainId(id),
                kind: DomainKind::Pv,
                privilege: Privilege::None,
                word_size: WordSize::Bits64,
                vcpus: 2,
                max_port: 63,
                pirqs: 0,
                shared_info_gfn: SHARED_INFO_GFN,
            };
            Domain::new(config, &memory).expect("a domain that can be created")
        };
        let domains = [domain(0), domain(1)];
        let handlers = VirqHandlers::new(DomainId::DOM0);
        let machine = Self { memory, domains, handlers, actions: Mutex::default() };
        machine.take_every_lock();
        machine
    }

    /// Locks come to be when they are first taken; loom must have seen that before there are threads.
    fn take_every_lock(&self) {
        self.use_fifo();
        for domain in &self.domains {
            for port in 0..64 {
                domain.status(self, DomainId::SELF, Port(port)).expect("a valid port");
            }
            domain.update_callback_line(self);
            domain.reset(self, DomainId::SELF, ResetStep::Begin).expect("nobody is preempted");
        }
    }

    /// The same with the FIFO ABI in domain 0, and its event words.
    pub(crate) fn with_fifo() -> Self {
        let machine = Self::new();
        machine.use_fifo();
        machine.own().expand_array(&machine, ARRAY_GFN).expect("a page");
        machine
    }

    /// Switches domain 0 to the FIFO ABI; the event words are to come.
    pub(crate) fn use_fifo(&self) {
        for vcpu in [V0, V1] {
            self.own().init_control(self, vcpu, control_place(vcpu)).expect("a control block");
        }
    }

    /// Domain 0, whose pages the tests look at.
    pub(crate) fn own(&self) -> &Domain<LoomLock> {
        &self.domains[0]
    }

    /// Domain 1, which only sends.
    pub(crate) fn peer(&self) -> &Domain<LoomLock> {
        &self.domains[1]
    }

    pub(crate) fn ipi(&self, vcpu: VcpuId) -> Port {
        self.own().bind_ipi(self, vcpu).expect("a port")
    }

    pub(crate) fn send(&self, port: Port) {
        self.own().send(self, port).expect("an open port");
    }

    /// A port that the peer is connected to, and the peer's end: a sender there holds another port's lock than whoever
    /// works on this one.
    pub(crate) fn connected(&self) -> (Port, Port) {
        let port = self.own().alloc_unbound(self, self.own().id(), self.peer().id()).expect("a port");
        let theirs = self.peer().bind_interdomain(self, self.own().id(), port).expect("offered");
        (port, theirs)
    }

    /// The peer sends; at worst its port is unbound by now.
    pub(crate) fn send_from_peer(&self, theirs: Port) {
        self.peer().send(self, theirs).expect("a port of the peer");
    }

    /// How many pages the hypervisor holds.
    pub(crate) fn pins(&self) -> u32 {
        self.memory.pins()
    }

    pub(crate) fn kicks(&self) -> usize {
        mem::take(&mut *self.actions.lock().expect("nobody panicked")).len()
    }

    fn shared(&self) -> &SharedInfo64 {
        self.view(GuestPlace::frame(SHARED_INFO_GFN))
    }

    fn view<T: Shared>(&self, place: GuestPlace) -> &T {
        self.memory.view(DomainId(0), place).expect("memory")
    }

    pub(crate) fn word(&self, port: Port) -> &EventWord {
        &self.view::<EventArray>(GuestPlace::frame(ARRAY_GFN)).0[port.index()]
    }

    pub(crate) fn control(&self, vcpu: VcpuId) -> &ControlBlock {
        self.view(control_place(vcpu))
    }

    pub(crate) fn is_pending(&self, port: Port) -> bool {
        self.own().bits(self, port).expect("a port").pending
    }

    pub(crate) fn mask(&self, port: Port) {
        match self.own().abi() {
            EventAbi::Fifo => self.word(port).0.fetch_or(MASKED, Ordering::AcqRel),
            EventAbi::TwoLevel(_) => {
                self.shared().evtchn_mask[0].fetch_or(1 << port.0, Ordering::AcqRel);
                0
            }
        };
    }

    /// A guest's unmask by hypercall.
    pub(crate) fn unmask(&self, port: Port) {
        self.own().unmask(self, port).expect("a port");
    }

    /// The guest's upcall, if it is called: takes what is pending, in order.
    pub(crate) fn consume(&self, vcpu: VcpuId) -> Vec<Port> {
        let info = &self.shared().vcpu_info[vcpu.index()];
        if info.evtchn_upcall_pending.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        info.evtchn_upcall_pending.store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        match self.own().abi() {
            EventAbi::Fifo => self.consume_fifo(vcpu),
            EventAbi::TwoLevel(_) => self.consume_two_level(vcpu),
        }
    }

    /// Consumes until the vCPU is no longer called.
    pub(crate) fn drain(&self, vcpu: VcpuId) -> Vec<Port> {
        let info = &self.shared().vcpu_info[vcpu.index()];
        let mut taken = Vec::new();
        while info.evtchn_upcall_pending.load(Ordering::Acquire) != 0 {
            taken.extend(self.consume(vcpu));
        }
        taken
    }

    fn consume_two_level(&self, vcpu: VcpuId) -> Vec<Port> {
        let shared = self.shared();
        if shared.vcpu_info[vcpu.index()].evtchn_pending_sel.swap(0, Ordering::SeqCst) & 1 == 0 {
            return Vec::new();
        }
        fence(Ordering::SeqCst);
        let due = shared.evtchn_pending[0].load(Ordering::SeqCst) & !shared.evtchn_mask[0].load(Ordering::SeqCst);
        let ports = (0..64).filter(|bit| due >> bit & 1 == 1);
        ports
            .map(|bit| {
                shared.evtchn_pending[0].fetch_and(!(1 << bit), Ordering::SeqCst);
                fence(Ordering::SeqCst);
                Port(bit)
            })
            .collect()
    }

    fn consume_fifo(&self, vcpu: VcpuId) -> Vec<Port> {
        let control = self.control(vcpu);
        let mut ready = control.ready.swap(0, Ordering::SeqCst);
        let mut heads = [0; FIFO_QUEUES];
        let mut taken = Vec::new();
        while ready != 0 {
            let queue = ready.trailing_zeros() as usize;
            if heads[queue] == 0 {
                heads[queue] = control.head[queue].load(Ordering::Acquire);
            }
            let port = Port(heads[queue]);
            let word = self.word(port);
            let before = word.0.fetch_and(!(LINKED | LINK_MASK), Ordering::AcqRel);
            heads[queue] = before & LINK_MASK;
            if heads[queue] == 0 {
                ready &= !(1 << queue);
            }
            if word.load(Ordering::Acquire).pending() && before & MASKED == 0 {
                word.0.fetch_and(!PENDING, Ordering::AcqRel);
                taken.push(port);
            }
            ready |= control.ready.swap(0, Ordering::AcqRel);
        }
        taken
    }
}

fn control_place(vcpu: VcpuId) -> GuestPlace {
    GuestPlace { gfn: CONTROL_GFN, offset: 128 * vcpu.0 }
}

impl GuestMemory for Machine {
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

impl Host for Machine {
    type Lock = LoomLock;

    fn domain(&self, id: DomainId) -> Option<&Domain<LoomLock>> {
        self.domains.get(usize::from(id.0))
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.handlers
    }

    fn act(&self, action: Action) {
        self.actions.lock().expect("nobody panicked").push(action);
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

/// The stack of a test, in loom's unit of 8 bytes.
const STACK: usize = 0x2_0000;

/// Runs a test in every interleaving with at most `preemptions` pre-emptions.
pub(crate) fn explore(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    let runs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&runs);
    let test = Arc::new(test);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        // loom's first thread has a stack of 32 KiB, too small for pages of its big atomics.
        let test = Arc::clone(&test);
        let body = thread::Builder::new().stack_size(STACK).spawn(move || test());
        body.expect("a thread").join().expect("a test that ends");
    });
    println!("{} interleavings", runs.load(Ordering::Relaxed));
}
