//! Posted interrupts: agents against a scheduler that moves, blocks and wakes vCPUs, on physical CPUs that die.

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::posted::Blocked;
use hypervisor_lib::delivery::posted::Blocking;
use hypervisor_lib::delivery::posted::Notice;
use hypervisor_lib::delivery::posted::Offline;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::Preempted;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Running;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::post;
use hypervisor_lib::delivery::posted::relocate;
use hypervisor_lib::delivery::posted::take;
use hypervisor_lib::delivery::posted::wake_up;
use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prop_oneof;
use proptest::proptest;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::machine::vector;
use crate::posted_host::NOTIFICATION;
use crate::posted_host::PROTOCOLS;
use crate::posted_host::PostedHost;
use crate::posted_host::WAKE_UP;

const CPUS: u32 = 3;
const VCPUS: usize = 3;

fn posted_host(protocol: Protocol) -> PostedHost {
    PostedHost::new(protocol, CPUS, VCPUS)
}

fn key(vcpu: usize) -> VcpuKey {
    VcpuKey { domain: DomainId(1), vcpu: VcpuId(u32::try_from(vcpu).expect("few")) }
}

fn control(vector: u8, cpu: u32, suppressed: bool) -> PostedControl {
    let destination = PostedDestination::from_bits(cpu * 4);
    PostedControl::new().with_vector(vector).with_destination(destination).with_suppressed(suppressed)
}

#[test]
fn an_agent_sets_on_and_notifies_unless_it_is_set_or_suppressed_and_not_urgent() {
    for urgency in [Urgency::Ordinary, Urgency::Urgent] {
        for before in [0, PostedControl::OUTSTANDING, PostedControl::SUPPRESSED, 3] {
            let descriptor = PostedDescriptor::default();
            let value = control(NOTIFICATION, 2, false).into_bits() | before;
            descriptor.control.store(value, Ordering::Relaxed);
            let is_due = before == 0 || before == PostedControl::SUPPRESSED && urgency == Urgency::Urgent;
            let notice = Notice { vector: NOTIFICATION, destination: PostedDestination::from_bits(8) };
            assert_eq!(post(&descriptor, vector(0x51), urgency), is_due.then_some(notice), "{urgency:?} {before}");
            let set = if is_due { PostedControl::OUTSTANDING } else { 0 };
            assert_eq!(descriptor.control.load(Ordering::Relaxed), value | set);
            let mut taken = Vec::new();
            take(&descriptor, |word, bits| taken.push((word, bits)));
            assert_eq!(taken, [(1, 1 << 0x11)], "the bit is set whatever comes of the notification");
            assert_eq!(descriptor.control.load(Ordering::Relaxed), value & !PostedControl::OUTSTANDING);
        }
    }
}

#[test]
fn every_vector_has_its_bit() {
    for number in Vector::all() {
        let descriptor = PostedDescriptor::default();
        let _ = post(&descriptor, number, Urgency::Ordinary);
        take(&descriptor, |word, bits| assert_eq!(word * 64 + bits.trailing_zeros() as usize, number.index()));
    }
}

#[test]
fn every_state_has_the_control_word_of_the_table() {
    for protocol in PROTOCOLS {
        let host = posted_host(protocol);
        let offline = Offline::new(&host, key(0)).expect("a vCPU");
        assert!(host.control(0).suppressed());
        let running = offline.load(CpuId(1));
        assert_eq!(host.control(0), control(NOTIFICATION, 1, false));
        let preempted = running.preempt();
        assert_eq!(host.control(0), control(NOTIFICATION, 1, true));
        let running = preempted.load(CpuId(2));
        assert_eq!((host.control(0), running.cpu()), (control(NOTIFICATION, 2, false), CpuId(2)));
        let Blocking::Blocked(blocked) = running.block() else { panic!("nothing is posted") };
        assert_eq!(host.control(0), control(WAKE_UP, 2, false));
        assert_eq!(host.lists.blocked_on(CpuId(2)), [key(0)]);
        let running = blocked.load(CpuId(0));
        assert_eq!(host.control(0), control(NOTIFICATION, 0, false));
        assert_eq!(host.lists.blocked_on(CpuId(2)), []);
        let Blocking::Blocked(blocked) = running.block() else { panic!("nothing is posted") };
        let preempted = blocked.retire().load(CpuId(1)).preempt();
        assert_eq!(host.lists.blocked_on(CpuId(0)), []);
        preempted.retire();
        assert!(host.control(0).suppressed());
        assert_eq!(host.take(), []);
    }
}

#[test]
fn r47_no_state_in_which_a_vcpu_runs_or_waits_for_interrupts_suppresses_them() {
    for protocol in PROTOCOLS {
        let host = posted_host(protocol);
        let mut running = Offline::new(&host, key(0)).expect("a vCPU").load(CpuId(0));
        for round in 0..4 {
            let preempted = running.preempt();
            assert_eq!(post(&host.vcpus[0].descriptor, vector(0x51), Urgency::Ordinary), None);
            running = preempted.load(CpuId(round % CPUS));
            assert!(!host.control(0).suppressed());
            let mut taken = 0;
            running.sync(|_, bits| taken += bits.count_ones());
            assert_eq!(taken, 1, "what was posted meanwhile is found");
            assert!(post(&host.vcpus[0].descriptor, vector(0x52), Urgency::Ordinary).is_some());
            running.sync(|_, _| {});
        }
    }
}

#[test]
fn r48_a_move_asks_for_nothing_besides_the_descriptor() {
    for protocol in PROTOCOLS {
        let host = posted_host(protocol);
        let running = Offline::new(&host, key(0)).expect("a vCPU").load(CpuId(0));
        let running = running.preempt().load(CpuId(2));
        let Blocking::Blocked(blocked) = running.block() else { panic!("nothing is posted") };
        blocked.load(CpuId(1));
        assert_eq!(host.take(), []);
    }
}

#[test]
fn a_post_just_before_blocking_keeps_the_vcpu_awake_in_xen_and_wakes_it_in_kvm() {
    let blocked_after_post = |host: &PostedHost| {
        let running = Offline::new(host, key(0)).expect("a vCPU").load(CpuId(1));
        assert!(post(&host.vcpus[0].descriptor, vector(0x51), Urgency::Ordinary).is_some());
        matches!(running.block(), Blocking::Blocked(_))
    };
    let xen = posted_host(Protocol::Xen);
    assert!(!blocked_after_post(&xen));
    assert_eq!(xen.lists.blocked_on(CpuId(1)), []);
    assert_eq!(xen.control(0), control(NOTIFICATION, 1, false).with_outstanding(true));
    let kvm = posted_host(Protocol::Kvm);
    assert!(blocked_after_post(&kvm));
    assert_eq!(kvm.take(), [PostingAction::WakeUpSelf(CpuId(1))]);
    wake_up(&kvm, CpuId(1));
    assert_eq!(kvm.take(), [PostingAction::Wake(key(0))]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Post(usize, u8, Urgency),
    Load(usize, u32),
    Preempt(usize),
    Block(usize),
    Sync(usize),
    /// One notification arrives, of those under way.
    Arrive(usize),
    Die(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let vcpu = || 0..VCPUS;
    prop_oneof![
        6 => (vcpu(), 16..=255_u8, 0..8_u8)
            .prop_map(|(vcpu, vector, u)| Step::Post(vcpu, vector, if u == 0 { Urgency::Urgent } else { Urgency::Ordinary })),
        4 => (vcpu(), 0..CPUS).prop_map(|(vcpu, cpu)| Step::Load(vcpu, cpu)),
        2 => vcpu().prop_map(Step::Preempt),
        4 => vcpu().prop_map(Step::Block),
        2 => vcpu().prop_map(Step::Sync),
        4 => (0..8_usize).prop_map(Step::Arrive),
        1 => (1..CPUS).prop_map(Step::Die),
    ]
}

enum State<'h> {
    Offline(Offline<'h, PostedHost>),
    Running(Running<'h, PostedHost>),
    Preempted(Preempted<'h, PostedHost>),
    Blocked(Blocked<'h, PostedHost>),
}

struct World<'h> {
    host: &'h PostedHost,
    states: Vec<Option<State<'h>>>,
    woken: [bool; VCPUS],
    alive: [bool; CPUS as usize],
    under_way: Vec<(u32, u8)>,
    due: [Vec<u8>; VCPUS],
}

impl<'h> World<'h> {
    fn new(host: &'h PostedHost) -> Self {
        let states = (0..VCPUS).map(|vcpu| Offline::new(host, key(vcpu)).map(State::Offline)).collect();
        let due = [const { Vec::new() }; VCPUS];
        Self { host, states, woken: [false; VCPUS], alive: [true; 3], under_way: Vec::new(), due }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Post(vcpu, number, urgency) => {
                if !self.due[vcpu].contains(&number) {
                    self.due[vcpu].push(number);
                }
                if let Some(notice) = post(&self.host.vcpus[vcpu].descriptor, vector(number), urgency) {
                    self.under_way.push((notice.destination.into_bits() / 4, notice.vector));
                }
            }
            Step::Load(vcpu, cpu) if self.alive[cpu as usize] && !self.is_taken(cpu) => self.load(vcpu, cpu),
            Step::Preempt(vcpu) => self.change(vcpu, |state| match state {
                State::Running(running) => State::Preempted(running.preempt()),
                other => other,
            }),
            Step::Block(vcpu) => {
                self.sync(vcpu);
                self.change(vcpu, |state| match state {
                    State::Running(running) => match running.block() {
                        Blocking::Blocked(blocked) => State::Blocked(blocked),
                        Blocking::Running(running) => State::Running(running),
                    },
                    other => other,
                });
            }
            Step::Sync(vcpu) => self.sync(vcpu),
            Step::Arrive(which) if !self.under_way.is_empty() => {
                let (cpu, number) = self.under_way.remove(which % self.under_way.len());
                self.arrive(cpu, number);
            }
            Step::Die(cpu) if self.alive[cpu as usize] => {
                if let Some(vcpu) = (0..VCPUS).find(|vcpu| self.runs_on(*vcpu) == Some(cpu)) {
                    self.step(Step::Preempt(vcpu));
                }
                self.alive[cpu as usize] = false;
                relocate(self.host, CpuId(cpu), CpuId(0));
                assert_eq!(self.host.lists.blocked_on(CpuId(cpu)), []);
            }
            Step::Load(..) | Step::Arrive(_) | Step::Die(_) => {}
        }
        for action in self.host.take() {
            match action {
                PostingAction::Wake(key) => self.woken[key.vcpu.index()] = true,
                PostingAction::WakeUpSelf(cpu) => self.under_way.push((cpu.0, WAKE_UP)),
            }
        }
    }

    fn change(&mut self, vcpu: usize, change: impl FnOnce(State<'h>) -> State<'h>) {
        let before = self.states[vcpu].take().expect("a state");
        self.states[vcpu] = Some(change(before));
    }

    fn runs_on(&self, vcpu: usize) -> Option<u32> {
        if let Some(State::Running(running)) = &self.states[vcpu] { Some(running.cpu().0) } else { None }
    }

    fn is_taken(&self, cpu: u32) -> bool {
        (0..VCPUS).any(|vcpu| self.runs_on(vcpu) == Some(cpu))
    }

    /// The scheduler runs a blocked vCPU only once it has been woken.
    fn load(&mut self, vcpu: usize, cpu: u32) {
        let woken = std::mem::take(&mut self.woken[vcpu]);
        self.change(vcpu, |state| match state {
            State::Offline(offline) => State::Running(offline.load(CpuId(cpu))),
            State::Preempted(preempted) => State::Running(preempted.load(CpuId(cpu))),
            State::Blocked(blocked) if woken => State::Running(blocked.load(CpuId(cpu))),
            other => other,
        });
    }

    fn sync(&mut self, vcpu: usize) {
        if let Some(State::Running(running)) = &self.states[vcpu] {
            running.sync(|word, bits| Self::deliver(&mut self.due[vcpu], word, bits));
        }
    }

    fn deliver(due: &mut Vec<u8>, word: usize, bits: u64) {
        for number in (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| word * 64 + bit) {
            let place = due.iter().position(|waiting| usize::from(*waiting) == number);
            due.remove(place.expect("a vector that was posted and not yet delivered"));
        }
    }

    fn arrive(&mut self, cpu: u32, number: u8) {
        if !self.alive[cpu as usize] {
            return;
        }
        if number == WAKE_UP {
            return wake_up(self.host, CpuId(cpu));
        }
        assert_eq!(number, NOTIFICATION);
        // Posted-interrupt processing is for whoever runs there now.
        if let Some(vcpu) = (0..VCPUS).find(|vcpu| self.runs_on(*vcpu) == Some(cpu)) {
            take(&self.host.vcpus[vcpu].descriptor, |word, bits| Self::deliver(&mut self.due[vcpu], word, bits));
        }
    }

    /// Everything under way arrives and everybody who may run does, one after the other on CPU 0.
    fn settle(&mut self) {
        (0..VCPUS).for_each(|vcpu| self.step(Step::Preempt(vcpu)));
        for _ in 0..3 {
            while !self.under_way.is_empty() {
                self.step(Step::Arrive(0));
            }
            for vcpu in 0..VCPUS {
                self.step(Step::Load(vcpu, 0));
                self.sync(vcpu);
                self.step(Step::Preempt(vcpu));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_posted_is_lost_whatever_the_scheduler_does(xen in 0..2_usize, steps in vec(step(), 1..60)) {
        let host = posted_host(PROTOCOLS[xen]);
        let mut world = World::new(&host);
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        for vcpu in 0..VCPUS {
            assert_eq!(world.due[vcpu], [], "vCPU {vcpu} was not told, {:?}", host.control(vcpu));
        }
    }
}
