//! A posting agent against a vCPU that is preempted, loaded, blocked and woken, and a physical CPU that dies.

use std::sync::Mutex;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::posted::Blocking;
use hypervisor_lib::delivery::posted::Notice;
use hypervisor_lib::delivery::posted::Offline;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::PostingHost;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Running;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use hypervisor_lib::delivery::posted::post;
use hypervisor_lib::delivery::posted::relocate;
use hypervisor_lib::delivery::posted::take;
use hypervisor_lib::delivery::posted::wake_up;
use hypervisor_lib::migration;
use hypervisor_lib::migration::Execution;
use hypervisor_lib::migration::PostedWords;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Vcpu;
use loom::sync::Arc;
use loom::thread;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::lock::LoomLock;
use crate::machine::explore;

const KEY: VcpuKey = VcpuKey { domain: DomainId(1), vcpu: VcpuId(0) };
const CPU_0: CpuId = CpuId(0);
const CPU_1: CpuId = CpuId(1);
const PROTOCOLS: [Protocol; 2] = [Protocol::Xen, Protocol::Kvm];

struct PostedHost {
    vcpu: PostedVcpu,
    lists: WakeLists<LoomLock>,
    protocol: Protocol,
    /// Not loom's: what is noted here orders nothing.
    actions: Mutex<Vec<PostingAction>>,
}

impl PostingHost for PostedHost {
    type Lock = LoomLock;

    fn posted_vcpu(&self, _: VcpuKey) -> Option<&PostedVcpu> {
        Some(&self.vcpu)
    }

    fn wake_lists(&self) -> &WakeLists<LoomLock> {
        &self.lists
    }

    fn destination(&self, cpu: CpuId) -> PostedDestination {
        PostedDestination::new(ApicId(cpu.0), ApicMode::X2Apic)
    }

    fn notification_vector(&self) -> Vector {
        Vector::new(0xf2).expect("a vector")
    }

    fn wake_up_vector(&self) -> Vector {
        Vector::new(0xf1).expect("a vector")
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn act(&self, action: PostingAction) {
        self.actions.lock().expect("nobody panicked").push(action);
    }
}

fn host(protocol: Protocol) -> Arc<PostedHost> {
    let (vcpu, lists) = (PostedVcpu::default(), WakeLists::new(2));
    Arc::new(PostedHost { vcpu, lists, protocol, actions: Mutex::default() })
}

fn begin(host: &PostedHost) -> Running<'_, PostedHost> {
    Offline::new(host, KEY).expect("a vCPU").load(CPU_0)
}

/// An agent on a thread of its own; what it sends, it gives back.
fn agent(host: &Arc<PostedHost>) -> thread::JoinHandle<Option<Notice>> {
    let host = Arc::clone(host);
    thread::spawn(move || post(&host.vcpu.descriptor, Vector::new(0x51).expect("a vector"), Urgency::Ordinary))
}

fn taken(running: &Running<'_, PostedHost>) -> u32 {
    let mut taken = 0;
    running.sync(|_, bits| taken += bits.count_ones());
    taken
}

/// What arrives at a living CPU: the agent's notification, and what the vCPU's own CPU sent itself. Whether the vCPU has
/// been woken by then.
fn is_woken(host: &PostedHost, notice: Option<Notice>, dead: Option<CpuId>) -> bool {
    let own: Vec<PostingAction> = host.actions.lock().expect("nobody panicked").drain(..).collect();
    let mut woken = own.contains(&PostingAction::Wake(KEY));
    for action in own {
        if let PostingAction::WakeUpSelf(cpu) = action {
            wake_up(host, cpu);
        }
    }
    if let Some(notice) = notice.filter(|notice| notice.vector == 0xf1) {
        let cpu = CpuId(notice.destination.into_bits());
        if Some(cpu) != dead {
            wake_up(host, cpu);
        }
    }
    woken |= host.actions.lock().expect("nobody panicked").contains(&PostingAction::Wake(KEY));
    woken
}

#[test]
fn a_post_beside_a_block_keeps_the_vcpu_awake_or_wakes_it() {
    for protocol in PROTOCOLS {
        explore(4, move || {
            let host = host(protocol);
            let running = begin(&host);
            let agent = agent(&host);
            match running.block() {
                Blocking::Running(running) => {
                    agent.join().expect("an agent that ends");
                    assert_eq!(taken(&running), 1);
                }
                Blocking::Blocked(blocked) => {
                    let notice = agent.join().expect("an agent that ends");
                    assert!(is_woken(&host, notice, None), "blocked with a vector posted, {notice:?}");
                    assert_eq!(taken(&blocked.load(CPU_1)), 1);
                }
            }
        });
    }
}

#[test]
fn a_post_beside_a_preemption_and_a_load_is_found_or_notified() {
    for protocol in PROTOCOLS {
        explore(4, move || {
            let host = host(protocol);
            let running = begin(&host);
            let agent = agent(&host);
            let running = running.preempt().load(CPU_1);
            let before = taken(&running);
            let notice = agent.join().expect("an agent that ends");
            // A notification makes the vCPU look again, if it is sent to where it runs, or was sent before it looked.
            let after = if notice.is_some() { taken(&running) } else { 0 };
            assert_eq!(before + after, 1, "{notice:?}");
        });
    }
}

#[test]
fn a_post_beside_the_death_of_the_cpu_wakes_the_vcpu() {
    for protocol in PROTOCOLS {
        explore(4, move || {
            let host = host(protocol);
            let Blocking::Blocked(blocked) = begin(&host).block() else { panic!("nothing is posted") };
            let agent = agent(&host);
            relocate(&*host, CPU_0, CPU_1);
            let notice = agent.join().expect("an agent that ends");
            assert!(is_woken(&host, notice, Some(CPU_0)), "{notice:?} went to the dead CPU");
            assert_eq!(taken(&blocked.load(CPU_1)), 1);
        });
    }
}

#[test]
fn a_vcpu_that_is_loaded_while_its_list_is_walked_or_moved_is_on_no_list() {
    for protocol in PROTOCOLS {
        explore(3, move || {
            let host = host(protocol);
            let Blocking::Blocked(blocked) = begin(&host).block() else { panic!("nothing is posted") };
            let walker = {
                let host = Arc::clone(&host);
                thread::spawn(move || {
                    relocate(&*host, CPU_0, CPU_1);
                    wake_up(&*host, CPU_1);
                })
            };
            let running = blocked.load(CPU_1);
            walker.join().expect("a walk that ends");
            assert!(host.lists.blocked_on(CPU_0).is_empty() && host.lists.blocked_on(CPU_1).is_empty());
            let notice = post(&host.vcpu.descriptor, Vector::new(0x51).expect("a vector"), Urgency::Ordinary);
            assert_eq!(notice.map(|notice| (notice.vector, notice.destination.into_bits())), Some((0xf2, 1)));
            assert_eq!(taken(&running), 1);
        });
    }
}

fn vcpu(protocol: Protocol) -> Residency<migration::Offline> {
    Residency::new(Vcpu { key: KEY, record: Record::Descriptor(protocol) })
}

/// What an entry takes: Xen's looks at PIR, KVM's at ON.
fn entered(host: &PostedHost) -> u32 {
    let mut taken = 0;
    let descriptor = &host.vcpu.descriptor;
    let control = PostedControl::from(descriptor.control.load(Ordering::SeqCst));
    if host.protocol == Protocol::Xen || control.outstanding() {
        take(descriptor, |_, bits| taken += bits.count_ones());
    }
    taken
}

#[test]
fn a_post_beside_the_steps_of_a_move_is_found_or_notified() {
    for protocol in PROTOCOLS {
        explore(3, move || {
            let host = host(protocol);
            let mut words = PostedWords::new(&*host, KEY).expect("a vCPU");
            let running = vcpu(protocol).load(CPU_0).run(&mut words).expect("words");
            let agent = agent(&host);
            let mut execution = Execution::new(running.move_to(CPU_1, &[]));
            execution.run(&mut words).expect("nothing stands against it");
            let before = entered(&host);
            let notice = agent.join().expect("an agent that ends");
            let after = if notice.is_some() { entered(&host) } else { 0 };
            assert_eq!(before + after, 1, "{notice:?}");
        });
    }
}

#[test]
fn a_post_beside_the_steps_of_blocking_keeps_the_vcpu_awake_or_wakes_it() {
    for protocol in PROTOCOLS {
        explore(3, move || {
            let host = host(protocol);
            let mut words = PostedWords::new(&*host, KEY).expect("a vCPU");
            let running = vcpu(protocol).load(CPU_0).run(&mut words).expect("words");
            let agent = agent(&host);
            let blocking = running.block().run(&mut words).expect("words");
            let notice = agent.join().expect("an agent that ends");
            if let migration::Blocking::Asleep(blocked) = blocking {
                assert!(is_woken(&host, notice, None), "blocked with a vector posted, {notice:?}");
                blocked.load(CPU_1).run(&mut words).expect("words");
            }
            assert_eq!(entered(&host), 1);
        });
    }
}
