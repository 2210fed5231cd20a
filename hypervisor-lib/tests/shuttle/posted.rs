//! A vCPU with a descriptor: a device posts to it through its IOMMU, another CPU by IPI, and a remapped device's host handler
//! by software, from whichever CPU its vector has been moved to.

use std::sync::Mutex;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::posted::Notice;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::PostingHost;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use hypervisor_lib::delivery::posted::post;
use hypervisor_lib::delivery::posted::take;
use hypervisor_lib::delivery::posted::wake_up;
use hypervisor_lib::migration::Blocking;
use hypervisor_lib::migration::Carriers;
use hypervisor_lib::migration::Execution;
use hypervisor_lib::migration::Following;
use hypervisor_lib::migration::LeasedSources;
use hypervisor_lib::migration::NotProgrammed;
use hypervisor_lib::migration::Nothing;
use hypervisor_lib::migration::PostedWords;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Source;
use hypervisor_lib::migration::SourceHost;
use hypervisor_lib::migration::Vcpu;
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Evacuation;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;
use vector_allocator::XenLayout;

use crate::explore;
use crate::linger;
use crate::lock::ShuttleLock;

pub(crate) const KEY: VcpuKey = VcpuKey { domain: DomainId(1), vcpu: VcpuId(0) };
const CPUS: u32 = 3;
const WAKE_UP: u8 = 0xf1;
const NOTIFICATION: u8 = 0xf2;
/// What the three senders send, each once.
const SENT: [u8; 6] = [0x31, 0x51, 0x81, 0x82, 0xc1, 0xd1];

pub(crate) struct Host {
    pub(crate) vcpu: PostedVcpu,
    lists: WakeLists<ShuttleLock>,
    protocol: Protocol,
    /// A notification has arrived at a CPU.
    notified: [AtomicBool; CPUS as usize],
    /// A CPU has sent itself the wake-up vector.
    called_itself: [AtomicBool; CPUS as usize],
    is_woken: AtomicBool,
    /// The remapped device: the vector and CPU it sends to. Not shuttle's: one entry of the IOMMU is read and written whole.
    entry: Mutex<(u8, CpuId)>,
    /// What the host's handlers have been called for: vector and CPU.
    taken: Mutex<Vec<(u8, CpuId)>>,
}

impl PostingHost for Host {
    type Lock = ShuttleLock;

    fn posted_vcpu(&self, _: VcpuKey) -> Option<&PostedVcpu> {
        Some(&self.vcpu)
    }

    fn wake_lists(&self) -> &WakeLists<ShuttleLock> {
        &self.lists
    }

    fn destination(&self, cpu: CpuId) -> PostedDestination {
        PostedDestination::new(ApicId(cpu.0), ApicMode::X2Apic)
    }

    fn notification_vector(&self) -> Vector {
        vector(NOTIFICATION)
    }

    fn wake_up_vector(&self) -> Vector {
        vector(WAKE_UP)
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn act(&self, action: PostingAction) {
        match action {
            PostingAction::Wake(_) => self.is_woken.store(true, Ordering::SeqCst),
            // Its handler runs once interrupts are on again.
            PostingAction::WakeUpSelf(cpu) => self.called_itself[cpu.index()].store(true, Ordering::SeqCst),
        }
    }
}

impl SourceHost for Host {
    fn program(&self, _: Source, vector: Vector, target: CpuId) -> Result<(), NotProgrammed> {
        *self.entry.lock().expect("nobody panicked") = (vector.number(), target);
        Ok(())
    }

    /// Handlers run to their end as soon as they are called.
    fn live_on(&self, _: Vector) -> CpuSet {
        CpuSet::new()
    }

    fn waiting_on(&self, _: CpuId) -> VectorSet {
        VectorSet::EMPTY
    }

    fn evacuated(&self, _: Evacuation) {}
}

pub(crate) fn vector(number: u8) -> Vector {
    Vector::new(number).expect("16 or more")
}

impl Host {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            vcpu: PostedVcpu::default(),
            lists: WakeLists::new(CPUS),
            protocol,
            notified: Default::default(),
            called_itself: Default::default(),
            is_woken: AtomicBool::new(false),
            entry: Mutex::new((0, CpuId(0))),
            taken: Mutex::default(),
        }
    }

    /// An agent posts, and what it sends arrives.
    fn send(&self, number: u8) {
        linger();
        let Some(Notice { vector, destination }) = post(&self.vcpu.descriptor, vector(number), Urgency::Ordinary)
        else {
            return;
        };
        let cpu = CpuId(destination.into_bits());
        match vector {
            WAKE_UP => wake_up(self, cpu),
            _ => self.notified[cpu.index()].store(true, Ordering::SeqCst),
        }
    }

    /// The remapped device interrupts; the handler of the CPU it is sent to posts for it.
    fn interrupt(&self, number: u8) {
        let sent = *self.entry.lock().expect("nobody panicked");
        self.taken.lock().expect("nobody panicked").push(sent);
        self.send(number);
    }

    /// What an entry does, and posted-interrupt processing in the guest.
    fn sync(&self, seen: &mut Vec<u8>) {
        take(&self.vcpu.descriptor, |word, bits| {
            let numbers = (0..64_u8).filter(|bit| bits >> bit & 1 != 0);
            seen.extend(numbers.map(|bit| u8::try_from(word * 64).expect("below 256") + bit));
        });
    }

    /// Entries look at PIR under Xen, at ON alone under KVM.
    fn enter(&self, seen: &mut Vec<u8>) {
        let control = PostedControl::from(self.vcpu.descriptor.control.load(Ordering::SeqCst));
        if self.protocol == Protocol::Xen || control.outstanding() {
            self.sync(seen);
        }
    }

    /// The guest runs on a CPU: a notification that arrives there is processed.
    fn run(&self, cpu: CpuId, seen: &mut Vec<u8>) {
        if self.notified[cpu.index()].swap(false, Ordering::SeqCst) {
            self.sync(seen);
        }
        thread::yield_now();
    }
}

fn scenario(protocol: Protocol) {
    let host = Host::new(protocol);
    let (layout, online) = (VectorLayout::xen(XenLayout::default()), CpuSet::first_n(CPUS));
    let (model, policy) = (DestinationModel::Physical, Policy::BelowDom0);
    let mut vectors = VectorAllocator::new(layout, model, CPUS, &online, policy, IoApicAck::New).expect("a host");
    let first = CpuSet::single(CpuId(0));
    let lease = vectors.allocate(Owner::Guest(DomainId(1)), SourceKind::EdgeMaskable, &first).expect("a vector");
    let source = Source { irq: 48, lease };
    *host.entry.lock().expect("nobody panicked") =
        (vectors.placement(lease).expect("leased").vector.number(), CpuId(0));
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let host = &host;
        scope.spawn(move || [SENT[0], SENT[1]].into_iter().for_each(|number| host.send(number)));
        scope.spawn(move || [SENT[2], SENT[3]].into_iter().for_each(|number| host.send(number)));
        scope.spawn(move || [SENT[4], SENT[5]].into_iter().for_each(|number| host.interrupt(number)));
        let engine = PostedWords::new(host, KEY).expect("a vCPU");
        let mut carriers = Carriers { engine, vectors: LeasedSources { vectors: &mut vectors, host }, host: Nothing };
        let vcpu = Residency::new(Vcpu { key: KEY, record: Record::Descriptor(protocol) });
        let mut running = vcpu.load(CpuId(0)).run(&mut carriers).expect("words");
        host.enter(&mut seen);
        for to in [1, 2, 0, 1].map(CpuId) {
            host.run(running.state().0, &mut seen);
            let mut execution = Execution::new(running.move_to(to, &[Following::Remapped(source)]));
            execution.run(&mut carriers).expect("nothing stands against it");
            running = execution.finish().expect("all steps are done");
            host.enter(&mut seen);
            host.run(to, &mut seen);
            if seen.len() == SENT.len() {
                break;
            }
            host.is_woken.store(false, Ordering::SeqCst);
            running = match running.block().run(&mut carriers).expect("words") {
                Blocking::GoesOn(running) => running,
                Blocking::Asleep(blocked) => {
                    while !host.is_woken.load(Ordering::SeqCst) {
                        if host.called_itself[to.index()].swap(false, Ordering::SeqCst) {
                            wake_up(host, to);
                        }
                        thread::yield_now();
                    }
                    blocked.load(to).run(&mut carriers).expect("words")
                }
                Blocking::Runnable(_) => unreachable!("a vCPU with a descriptor does not leave its CPU"),
            };
            host.enter(&mut seen);
        }
        // Nothing but notifications tells it of the rest.
        while seen.len() < SENT.len() {
            host.run(running.state().0, &mut seen);
        }
    });
    seen.sort_unstable();
    assert_eq!(seen, SENT, "each came once");
    let placement = vectors.placement(lease).expect("leased");
    assert!(placement.moving_from.is_none(), "no vector is left behind");
    for (number, cpu) in host.taken.lock().expect("nobody panicked").iter() {
        assert!(*number >= 0x20 && cpu.0 < CPUS, "every interrupt was sent under a vector of its source");
    }
}

#[test]
fn a_vcpu_that_moves_and_halts_under_load_gets_every_interrupt_xen() {
    explore(1500, || scenario(Protocol::Xen));
}

#[test]
fn a_vcpu_that_moves_and_halts_under_load_gets_every_interrupt_kvm() {
    explore(1500, || scenario(Protocol::Kvm));
}
