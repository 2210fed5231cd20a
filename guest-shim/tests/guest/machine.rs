//! The real hypervisor side, with two domains: a peer (domain 0) and the guest (domain 1), whose hypercalls come as bytes.

use std::fmt::Debug;
use std::mem;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use guest_shim::ArrayPage;
use guest_shim::ControlPage;
use guest_shim::EventAbi;
use guest_shim::EventChannels;
use guest_shim::Fifo;
use guest_shim::Gfn;
use guest_shim::Hypercalls;
use guest_shim::LocalApic;
use guest_shim::Place;
use guest_shim::PortRecord;
use guest_shim::SetUpError;
use guest_shim::Throttle;
use guest_shim::TwoLevel;
use guest_shim::Upcall;
use guest_shim::VcpuEvents;
use guest_shim::VcpuSetUp;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Shared;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::features::Feature;
use hypervisor_abi::features::FeatureInfo;
use hypervisor_abi::features::Features;
use hypervisor_abi::features::XENVER_GET_FEATURES;
use hypervisor_abi::hvm;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::memory;
use hypervisor_abi::physdev;
use hypervisor_abi::sched;
use hypervisor_abi::vcpu_info::RegisterVcpuInfo;
use hypervisor_abi::vcpu_info::VCPUOP_REGISTER_VCPU_INFO;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EoiUnmask;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestMemory;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::HeapMemory;
use hypervisor_lib::event::Host;
use hypervisor_lib::event::PhysdevCall;
use hypervisor_lib::event::PinError;
use hypervisor_lib::event::Pinned;
use hypervisor_lib::event::PirqError;
use hypervisor_lib::event::Privilege;
use hypervisor_lib::event::ResetStep;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VirqHandlers;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;
use lock_api::RawMutex;
use parking_lot::Mutex;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

pub(crate) const V0: VcpuId = VcpuId(0);
pub(crate) const V1: VcpuId = VcpuId(1);
pub(crate) const PEER: DomainId = DomainId(0);
pub(crate) const GUEST: DomainId = DomainId(1);
pub(crate) const VECTOR: u8 = 0xf3;
pub(crate) const PIRQS: u32 = 64;
const SHARED_INFO_GFN: u64 = 1;
const CONTROL_GFN: u64 = 2;
const VCPU_INFO_GFN: u64 = 3;
pub(crate) const PIRQ_EOI_GFN: u64 = 4;
const ARRAY_GFN: u64 = 0x100;
/// Frames from here on are not memory.
pub(crate) const END_GFN: u64 = 0x200;

/// The hypervisor.
pub(crate) struct Machine<L: RawMutex> {
    memory: HeapMemory<parking_lot::RawMutex>,
    domains: [Domain<L>; 2],
    handlers: VirqHandlers,
    kicks: AtomicU32,
    vectors: AtomicU32,
    /// The guest's hypercalls, in their order.
    log: Mutex<Vec<String>>,
    /// What the guest lets the hypervisor read where it is: the ports of a poll, and their address.
    lent_ports: Mutex<Vec<(u64, Vec<Port>)>>,
    refuses_fifo: AtomicBool,
    /// What becomes of a guest that suspends itself.
    suspension: Mutex<Suspension>,
}

/// What becomes of a guest that suspends itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Suspension {
    /// It may not.
    Refused,
    /// It goes on in its domain.
    InPlace,
    /// It goes on in a new one, with its memory, but for the shared page.
    Restored,
}

impl<L: RawMutex> Machine<L> {
    /// A guest with so many vCPUs and ports.
    pub(crate) fn new(vcpus: u32, max_port: u32) -> Self {
        let memory = HeapMemory::new(256, END_GFN);
        let domain = |id, kind, privilege| {
            let word_size = WordSize::Bits64;
            let shared_info_gfn = SHARED_INFO_GFN;
            let config =
                DomainConfig { id, kind, privilege, word_size, vcpus, max_port, pirqs: PIRQS, shared_info_gfn };
            Domain::new(config, &memory).expect("a domain that can be created")
        };
        let domains =
            [domain(PEER, DomainKind::Pv, Privilege::Control), domain(GUEST, DomainKind::Hvm, Privilege::None)];
        Self {
            memory,
            domains,
            handlers: VirqHandlers::new(PEER),
            kicks: AtomicU32::new(0),
            vectors: AtomicU32::new(0),
            log: Mutex::default(),
            lent_ports: Mutex::default(),
            refuses_fifo: AtomicBool::new(false),
            suspension: Mutex::new(Suspension::Refused),
        }
    }

    pub(crate) fn guest(&self) -> &Domain<L> {
        &self.domains[1]
    }

    pub(crate) fn peer(&self) -> &Domain<L> {
        &self.domains[0]
    }

    /// A hypervisor that has only the 2-level ABI.
    pub(crate) fn refuse_fifo(&self) {
        self.refuses_fifo.store(true, SeqCst);
    }

    /// What is to become of a guest that suspends itself.
    pub(crate) fn on_suspend(&self, suspension: Suspension) {
        *self.suspension.lock() = suspension;
    }

    /// Closes all ports of the guest's, which it has asked for.
    pub(crate) fn reset_guest(&self) {
        self.guest().reset(self, DomainId::SELF, ResetStep::Begin).expect("it may reset itself");
    }

    fn suspend(&self) -> i64 {
        match *self.suspension.lock() {
            Suspension::Refused => Errno::NotPermitted.hypercall_result(),
            Suspension::InPlace => 1,
            Suspension::Restored => {
                self.reset_guest();
                let shared = self.shared();
                for word in shared.evtchn_pending.iter().chain(&shared.evtchn_mask) {
                    word.store(0, SeqCst);
                }
                0
            }
        }
    }

    /// How often a vCPU was called since the last look, by whatever means.
    pub(crate) fn calls(&self) -> u32 {
        self.kicks.swap(0, SeqCst) + self.vectors.swap(0, SeqCst)
    }

    /// The hypercalls since the last look.
    pub(crate) fn hypercalls(&self) -> Vec<String> {
        mem::take(&mut *self.log.lock())
    }

    /// Lets the hypervisor read the ports of a poll.
    pub(crate) fn lend(&self, ports: &[Port]) {
        self.lent_ports.lock().push((ports.as_ptr().addr() as u64, ports.to_vec()));
    }

    /// The guest's view of its memory.
    pub(crate) fn view<T: Shared>(&self, gfn: u64, offset: u32) -> &T {
        self.memory.view(GUEST, GuestPlace { gfn, offset }).expect("memory")
    }

    pub(crate) fn shared(&self) -> &SharedInfo64 {
        self.view(SHARED_INFO_GFN, 0)
    }

    /// A port of the guest's that the peer can send to: the peer's end of it.
    pub(crate) fn connect<A: EventAbi>(&self, guest: &Guest<'_, A, L>, port: Port) -> Port {
        assert!(guest.bound(port).is_some());
        self.peer().bind_interdomain(self, GUEST, port).expect("an offered port")
    }

    pub(crate) fn send_from_peer(&self, theirs: Port) {
        self.peer().send(self, theirs).expect("a connected port");
    }
}

/// The guest's event channels.
pub(crate) type Guest<'m, A, L> = EventChannels<'m, A, Door<'m, L>>;

/// An ABI the tests can set up.
pub(crate) trait TestAbi {
    type Abi<'m>: EventAbi<Shared = SharedInfo64> + Debug;

    fn new<L: RawMutex>(machine: &Machine<L>, ports: u32) -> Self::Abi<'_>;

    fn pages<L: RawMutex>(machine: &Machine<L>, vcpu: VcpuId) -> <Self::Abi<'_> as EventAbi>::Pages;
}

pub(crate) enum Bitmaps {}

impl TestAbi for Bitmaps {
    type Abi<'m> = TwoLevel<'m>;

    fn new<L: RawMutex>(machine: &Machine<L>, _: u32) -> TwoLevel<'_> {
        TwoLevel::new(machine.shared())
    }

    fn pages<L: RawMutex>(_: &Machine<L>, _: VcpuId) {}
}

pub(crate) enum Queues {}

impl TestAbi for Queues {
    type Abi<'m> = Fifo<'m>;

    fn new<L: RawMutex>(machine: &Machine<L>, ports: u32) -> Fifo<'_> {
        let frames = (ARRAY_GFN..).take(Port(ports.div_ceil(1024)).index());
        let pages: Vec<ArrayPage<'_>> =
            frames.map(|gfn| ArrayPage { words: machine.view(gfn, 0), gfn: Gfn(gfn) }).collect();
        Fifo::new(pages.leak())
    }

    fn pages<L: RawMutex>(machine: &Machine<L>, vcpu: VcpuId) -> ControlPage<'_> {
        let offset = 128 * vcpu.0;
        ControlPage { block: machine.view(CONTROL_GFN, offset), place: Place { gfn: Gfn(CONTROL_GFN), offset } }
    }
}

/// The guest's event channels with room for so many ports; no vCPU is set up yet.
pub(crate) fn guest<T: TestAbi, L: RawMutex>(machine: &Machine<L>, ports: u32) -> Guest<'_, T::Abi<'_>, L> {
    let records: Vec<PortRecord> = (0..ports).map(|_| PortRecord::new()).collect();
    EventChannels::new(T::new(machine, ports), Door { machine }, records.leak())
}

pub(crate) struct Apic(pub(crate) bool);

impl LocalApic for Apic {
    fn is_software_enabled(&self) -> bool {
        self.0
    }
}

/// Where a vCPU's block can be registered.
pub(crate) const fn info_place(vcpu: VcpuId) -> Place {
    Place { gfn: Gfn(VCPU_INFO_GFN), offset: 64 * vcpu.0 }
}

/// What a vCPU is set up with: its block in the shared page, and a vector of its own.
pub(crate) fn set_up<T: TestAbi, L: RawMutex>(machine: &Machine<L>, vcpu: VcpuId) -> VcpuSetUp<'_, T::Abi<'_>> {
    VcpuSetUp {
        vcpu,
        info: &machine.shared().vcpu_info[vcpu.index()],
        info_place: None,
        pages: T::pages(machine, vcpu),
        upcall: Upcall::OwnVector(VECTOR),
        throttle: Throttle::default(),
    }
}

pub(crate) fn try_bring_up<'m, T: TestAbi, L: RawMutex>(
    machine: &'m Machine<L>,
    guest: &Guest<'m, T::Abi<'m>, L>,
    vcpu: VcpuId,
) -> Result<VcpuEvents<'m, T::Abi<'m>>, SetUpError> {
    guest.bring_up(set_up::<T, L>(machine, vcpu), &Apic(true))
}

pub(crate) fn bring_up<'m, T: TestAbi, L: RawMutex>(
    machine: &'m Machine<L>,
    guest: &Guest<'m, T::Abi<'m>, L>,
    vcpu: VcpuId,
) -> VcpuEvents<'m, T::Abi<'m>> {
    try_bring_up::<T, L>(machine, guest, vcpu).expect("a vCPU that can be set up")
}

/// The guest's hypercalls.
pub(crate) struct Door<'m, L: RawMutex> {
    machine: &'m Machine<L>,
}

/// Reads an argument, runs the call, writes the argument back.
fn with<A: FromBytes + IntoBytes + Immutable>(bytes: &mut [u8], call: impl FnOnce(&mut A) -> Result<(), Errno>) -> i64 {
    let mut argument = A::read_from_bytes(bytes).expect("an argument of the structure's size");
    let result = call(&mut argument);
    argument.write_to(bytes).expect("the same size");
    result.map_or_else(Errno::hypercall_result, |()| 0)
}

fn errno(error: EventError) -> Errno {
    error.errno()
}

impl<L: RawMutex> Door<'_, L> {
    fn note(&self, call: impl Debug) {
        self.machine.log.lock().push(format!("{call:?}"));
    }
}

impl<L: RawMutex> Hypercalls for Door<'_, L> {
    fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64 {
        self.note(op);
        let (domain, host) = (self.machine.guest(), self.machine);
        match op {
            EventOp::BindInterdomain => with(argument, |a: &mut event::BindInterdomain| {
                let (remote, port) = (DomainId(a.remote_dom), Port(a.remote_port));
                a.local_port = domain.bind_interdomain(host, remote, port).map_err(errno)?.0;
                Ok(())
            }),
            EventOp::BindVirq => with(argument, |a: &mut event::BindVirq| {
                let virq = Virq::new(a.virq).map_err(|_| Errno::Invalid)?;
                a.port = domain.bind_virq(host, virq, VcpuId(a.vcpu)).map_err(errno)?.0;
                Ok(())
            }),
            EventOp::BindPirq => with(argument, |a: &mut event::BindPirq| {
                let sharing = if a.flags & event::WILL_SHARE == 0 { Sharing::Exclusive } else { Sharing::Shared };
                a.port = domain.bind_pirq(host, a.pirq, sharing).map_err(errno)?.0;
                Ok(())
            }),
            EventOp::Close => with(argument, |a: &mut event::Close| domain.close(host, Port(a.port)).map_err(errno)),
            EventOp::Send => with(argument, |a: &mut event::Send| domain.send(host, Port(a.port)).map_err(errno)),
            EventOp::AllocUnbound => with(argument, |a: &mut event::AllocUnbound| {
                let (owner, remote) = (DomainId(a.dom), DomainId(a.remote_dom));
                a.port = domain.alloc_unbound(host, owner, remote).map_err(errno)?.0;
                Ok(())
            }),
            EventOp::BindIpi => with(argument, |a: &mut event::BindIpi| {
                a.port = domain.bind_ipi(host, VcpuId(a.vcpu)).map_err(errno)?.0;
                Ok(())
            }),
            EventOp::BindVcpu => with(argument, |a: &mut event::BindVcpu| {
                domain.bind_vcpu(host, Port(a.port), VcpuId(a.vcpu)).map_err(errno)
            }),
            EventOp::Unmask => with(argument, |a: &mut event::Unmask| domain.unmask(host, Port(a.port)).map_err(errno)),
            EventOp::InitControl => with(argument, |a: &mut event::InitControl| {
                if host.refuses_fifo.load(SeqCst) {
                    return Err(Errno::NotImplemented);
                }
                let place = GuestPlace { gfn: a.control_gfn, offset: a.offset };
                a.link_bits = domain.init_control(host, VcpuId(a.vcpu), place).map_err(errno)?;
                Ok(())
            }),
            EventOp::ExpandArray => {
                with(argument, |a: &mut event::ExpandArray| domain.expand_array(host, a.array_gfn).map_err(errno))
            }
            EventOp::SetPriority => with(argument, |a: &mut event::SetPriority| {
                domain.set_priority(Port(a.port), a.priority).map_err(errno)
            }),
            EventOp::Status | EventOp::Reset | EventOp::ResetContinuation => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn vcpu_op(&self, op: u32, vcpu: VcpuId, argument: &mut [u8]) -> i64 {
        assert_eq!(op, VCPUOP_REGISTER_VCPU_INFO);
        self.note(format_args!("RegisterVcpuInfo {vcpu}"));
        with(argument, |a: &mut RegisterVcpuInfo| {
            let place = GuestPlace { gfn: a.gfn, offset: a.offset };
            self.machine.guest().register_vcpu_info(self.machine, vcpu, place).map_err(errno)
        })
    }

    fn hvm_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        let (domain, host) = (self.machine.guest(), self.machine);
        match op {
            hvm::HVMOP_SET_EVTCHN_UPCALL_VECTOR => with(argument, |a: &mut hvm::EvtchnUpcallVector| {
                self.note(format_args!("SetUpcallVector v{} {:#x}", a.vcpu, a.vector));
                domain.set_upcall_vector(host, VcpuId(a.vcpu), a.vector).map_err(errno)
            }),
            hvm::HVMOP_SET_PARAM => with(argument, |a: &mut hvm::HvmParam| {
                assert_eq!(a.index, hvm::HVM_PARAM_CALLBACK_IRQ);
                let via = CallbackVia::from_param(a.value).map_err(|_| Errno::Invalid)?;
                domain.set_callback_via(host, via, WordSize::Bits64).map_err(errno)
            }),
            hvm::HVMOP_GET_PARAM => with(argument, |a: &mut hvm::HvmParam| {
                a.value = if a.index == hvm::HVM_PARAM_STORE_EVTCHN { 1 } else { return Err(Errno::Invalid) };
                Ok(())
            }),
            _ => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn physdev_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        let (domain, host) = (self.machine.guest(), self.machine);
        /// Carries out the operation of one argument structure.
        macro_rules! call {
            ($name:ident) => {
                with(argument, |argument| {
                    let mut call = PhysdevCall::$name(*argument);
                    let result = domain.physdev_op(host, &mut call);
                    if let PhysdevCall::$name(filled) = call {
                        *argument = filled;
                    }
                    result.map_err(PirqError::errno)
                })
            };
        }
        match op {
            physdev::PHYSDEVOP_EOI => {
                self.note(format_args!("Eoi {:?}", physdev::PirqEoi::read_from_bytes(argument).map(|eoi| eoi.irq)));
                call!(Eoi)
            }
            physdev::PHYSDEVOP_GET_FREE_PIRQ => call!(GetFreePirq),
            physdev::PHYSDEVOP_MAP_PIRQ => call!(MapPirq),
            physdev::PHYSDEVOP_UNMAP_PIRQ => call!(UnmapPirq),
            // Xen gives this page to paravirtual guests alone; what this side does with it is the same for any.
            physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V2 => with(argument, |a: &mut physdev::PirqEoiGmfn| {
                domain.register_pirq_eoi_page(host, a.gmfn, EoiUnmask::Manual).map_err(errno)
            }),
            _ => Errno::NotImplemented.hypercall_result(),
        }
    }

    fn memory_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        assert_eq!(op, memory::XENMEM_ADD_TO_PHYSMAP);
        with(argument, |a: &mut memory::AddToPhysmap| {
            assert_eq!((a.domid, a.size, a.space, a.idx), (DomainId::SELF.0, 0, memory::XENMAPSPACE_SHARED_INFO, 0));
            self.note(format_args!("AddToPhysmap {:#x}", a.gpfn));
            if a.gpfn < END_GFN { Ok(()) } else { Err(Errno::Invalid) }
        })
    }

    fn sched_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        if op == sched::SCHEDOP_SHUTDOWN {
            let shutdown =
                sched::SchedShutdown::read_from_bytes(argument).expect("an argument of the structure's size");
            assert_eq!(shutdown.reason, sched::SHUTDOWN_SUSPEND);
            return self.machine.suspend();
        }
        assert_eq!(op, sched::SCHEDOP_POLL);
        let (domain, host) = (self.machine.guest(), self.machine);
        with(argument, |a: &mut sched::SchedPoll| {
            let lent = host.lent_ports.lock();
            let ports = lent.iter().find(|(address, _)| *address == a.ports).map(|(_, ports)| &ports[..]);
            let asked = Port(a.nr_ports).index();
            let ports = ports.and_then(|ports| ports.get(..asked)).ok_or(Errno::BadAddress)?;
            let poll = domain.poll(host, V0, ports).map_err(errno)?;
            self.note(format_args!("{poll:?} until {}", a.timeout));
            domain.end_poll(V0).map_err(errno)
        })
    }

    fn xen_version(&self, op: u32, argument: &mut [u8]) -> i64 {
        assert_eq!(op, XENVER_GET_FEATURES);
        with(argument, |a: &mut FeatureInfo| {
            assert_eq!(a.submap_idx, 0);
            a.submap = Features::default().with(Feature::HvmCallbackVector).0;
            Ok(())
        })
    }
}

impl<L: RawMutex> GuestMemory for Machine<L> {
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

impl<L: RawMutex> Host for Machine<L> {
    type Lock = L;

    fn domain(&self, id: DomainId) -> Option<&Domain<L>> {
        self.domains.get(usize::from(id.0))
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.handlers
    }

    fn act(&self, action: Action) {
        match action {
            Action::Kick { domain: GUEST, .. } => {
                self.kicks.fetch_add(1, SeqCst);
            }
            Action::InjectVector { domain: GUEST, vector: VECTOR, .. } => {
                self.vectors.fetch_add(1, SeqCst);
            }
            _ => {}
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
        true
    }

    fn bind_pirq(&self, _: DomainId, _: u32, _: Sharing) -> Result<(), Errno> {
        Ok(())
    }
}
