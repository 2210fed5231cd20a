//! Steps on a descriptor: the same as the engine's own transitions, and no post is lost between any two of them.

use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_lib::delivery::posted;
use hypervisor_lib::delivery::posted::Notice;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::post;
use hypervisor_lib::delivery::posted::wake_up;
use hypervisor_lib::migration::Blocked;
use hypervisor_lib::migration::Blocking;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::Offline;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::PostedWords;
use hypervisor_lib::migration::Preempted;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Running;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Transition;
use hypervisor_lib::migration::Vcpu;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prop_oneof;
use proptest::proptest;
use vector_allocator::CpuId;

use crate::host::CPUS;
use crate::host::Failing;
use crate::host::NOTIFICATION;
use crate::host::PROTOCOLS;
use crate::host::PostedHost;
use crate::host::WAKE_UP;
use crate::host::is_posted;
use crate::host::key;
use crate::host::posted_host;
use crate::host::vector;

fn vcpu(protocol: Protocol) -> Residency<Offline> {
    Residency::new(Vcpu { key: key(0), record: Record::Descriptor(protocol) })
}

#[derive(Clone, Debug)]
enum Event {
    Post(u8),
    Preempt,
    Load(CpuId),
    Block,
    Retire,
    WakeUp(CpuId),
}

fn event() -> impl Strategy<Value = Event> {
    let cpu = || (0..CPUS).prop_map(CpuId);
    prop_oneof![
        2 => (16..=255_u8).prop_map(Event::Post),
        2 => Just(Event::Preempt),
        3 => cpu().prop_map(Event::Load),
        2 => Just(Event::Block),
        1 => Just(Event::Retire),
        1 => cpu().prop_map(Event::WakeUp),
    ]
}

/// The vCPU in both hands: steps and the engine's own calls.
enum Both<'h> {
    Offline(Residency<Offline>, posted::Offline<'h, PostedHost>),
    Running(Residency<Running>, posted::Running<'h, PostedHost>),
    Preempted(Residency<Preempted>, posted::Preempted<'h, PostedHost>),
    Blocked(Residency<Blocked>, posted::Blocked<'h, PostedHost>),
}

fn apply<'h>(both: Both<'h>, event: &Event, words: &mut PostedWords<'h, PostedHost>) -> Both<'h> {
    match (both, event) {
        (Both::Offline(steps, engine), Event::Load(cpu)) => {
            Both::Running(steps.load(*cpu).run(words).expect("the words are there"), engine.load(*cpu))
        }
        (Both::Preempted(steps, engine), Event::Load(cpu)) => {
            Both::Running(steps.load(*cpu).run(words).expect("the words are there"), engine.load(*cpu))
        }
        (Both::Blocked(steps, engine), Event::Load(cpu)) => {
            Both::Running(steps.load(*cpu).run(words).expect("the words are there"), engine.load(*cpu))
        }
        (Both::Running(steps, engine), Event::Preempt) => {
            Both::Preempted(steps.preempt().run(words).expect("the words are there"), engine.preempt())
        }
        (Both::Preempted(steps, engine), Event::Retire) => {
            Both::Offline(steps.retire().run(words).expect("the words are there"), engine.retire())
        }
        (Both::Blocked(steps, engine), Event::Retire) => {
            Both::Offline(steps.retire().run(words).expect("the words are there"), engine.retire())
        }
        (Both::Running(steps, engine), Event::Block) => {
            let blocking = steps.block().run(words).expect("the words are there");
            match (blocking, engine.block()) {
                (Blocking::Asleep(steps), posted::Blocking::Blocked(engine)) => Both::Blocked(steps, engine),
                (Blocking::GoesOn(steps), posted::Blocking::Running(engine)) => Both::Running(steps, engine),
                (blocking, _) => panic!("{blocking:?} by steps, and otherwise by the engine"),
            }
        }
        (both, _) => both,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn steps_leave_the_same_words_and_ask_for_the_same_as_the_engines_own_transitions(events in vec(event(), 0..40)) {
        for protocol in PROTOCOLS {
            let (by_steps, by_engine) = (posted_host(protocol), posted_host(protocol));
            let mut words = PostedWords::new(&by_steps, key(0)).expect("a vCPU");
            let engine = posted::Offline::new(&by_engine, key(0)).expect("a vCPU");
            let mut both = Both::Offline(vcpu(protocol), engine);
            for event in &events {
                match event {
                    Event::Post(number) => {
                        let post = |host: &PostedHost| post(&host.vcpus[0].descriptor, vector(*number), Urgency::Ordinary);
                        assert_eq!(post(&by_steps), post(&by_engine));
                    }
                    Event::WakeUp(cpu) => [&by_steps, &by_engine].into_iter().for_each(|host| wake_up(host, *cpu)),
                    transition => both = apply(both, transition, &mut words),
                }
                assert_eq!(by_steps.control(0), by_engine.control(0), "{event:?}");
                assert_eq!(is_posted(&by_steps, 0), is_posted(&by_engine, 0));
                assert_eq!(by_steps.take(), by_engine.take(), "{event:?}");
                for cpu in (0..CPUS).map(CpuId) {
                    assert_eq!(by_steps.lists.blocked_on(cpu), by_engine.lists.blocked_on(cpu), "{event:?}");
                }
            }
        }
    }
}

/// The words of a vCPU, to which an agent posts once: before the step of this number.
struct Posting<'h> {
    words: PostedWords<'h, PostedHost>,
    host: &'h PostedHost,
    moment: usize,
    steps: usize,
    notice: Option<Notice>,
}

impl<'h> Posting<'h> {
    fn new(host: &'h PostedHost, moment: usize) -> Self {
        let words = PostedWords::new(host, key(0)).expect("a vCPU");
        Self { words, host, moment, steps: 0, notice: None }
    }

    fn pass(&mut self) {
        if self.steps == self.moment {
            self.notice = post(&self.host.vcpus[0].descriptor, vector(0x51), Urgency::Ordinary);
            if let Some(Notice { vector: WAKE_UP, destination }) = self.notice {
                wake_up(self.host, CpuId(destination.into_bits() / 4));
            }
        }
        self.steps += 1;
    }
}

impl Carrier for Posting<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        self.pass();
        self.words.carry_out(step)
    }
}

#[test]
fn a_post_between_any_two_steps_of_a_move_is_found_or_notified_where_the_vcpu_runs() {
    for protocol in PROTOCOLS {
        for moment in 0..=5 {
            let host = posted_host(protocol);
            let mut carrier = Posting::new(&host, moment);
            let running = vcpu(protocol).load(CpuId(0)).run(&mut carrier).expect("the words are there");
            let preempted = running.preempt().run(&mut carrier).expect("the words are there");
            let running = preempted.load(CpuId(3)).run(&mut carrier).expect("the words are there");
            carrier.pass();
            assert_eq!((running.state(), carrier.steps), (&Running(CpuId(3)), 6));
            // Xen's entries look at PIR; KVM's at ON, which has to be set whoever set it.
            let is_seen = protocol == Protocol::Xen || host.control(0).outstanding();
            assert!(is_posted(&host, 0) && is_seen, "{protocol:?}, before step {moment}: {:?}", carrier.notice);
            let aimed = control(NOTIFICATION, 3).with_outstanding(host.control(0).outstanding());
            assert_eq!(host.control(0), aimed);
        }
    }
}

#[test]
fn a_post_between_any_two_steps_of_blocking_keeps_the_vcpu_awake_or_wakes_it() {
    for protocol in PROTOCOLS {
        for moment in 0..=5 {
            let host = posted_host(protocol);
            let mut carrier = Posting::new(&host, moment);
            let running = vcpu(protocol).load(CpuId(2)).run(&mut carrier).expect("the words are there");
            let blocking = running.block().run(&mut carrier).expect("the words are there");
            match blocking {
                Blocking::Asleep(blocked) => {
                    carrier.pass();
                    assert!(blocked.state() == &Blocked(CpuId(2)) && is_posted(&host, 0));
                    let mut asked = host.take();
                    if asked.contains(&PostingAction::WakeUpSelf(CpuId(2))) {
                        wake_up(&host, CpuId(2));
                        asked.extend(host.take());
                    }
                    assert!(asked.contains(&PostingAction::Wake(key(0))), "{protocol:?}, before step {moment}");
                }
                Blocking::GoesOn(running) => {
                    assert!(is_posted(&host, 0) && protocol == Protocol::Xen && moment < 5);
                    assert_eq!((running.state(), host.lists.blocked_on(CpuId(2))), (&Running(CpuId(2)), vec![]));
                    assert_eq!(host.control(0).vector(), NOTIFICATION);
                }
                Blocking::Runnable(_) => panic!("a vCPU with a descriptor does not leave its CPU"),
            }
        }
    }
}

#[test]
fn a_step_that_failed_is_tried_again_wherever_it_was() {
    for protocol in PROTOCOLS {
        for at in 0..6 {
            let host = posted_host(protocol);
            let mut words = PostedWords::new(&host, key(0)).expect("a vCPU");
            let mut failing = Failing { carrier: &mut words, at, count: 0 };
            let running = again(vcpu(protocol).load(CpuId(1)), &mut failing);
            let blocking = match running.block().run(&mut failing) {
                Ok(blocking) => blocking,
                Err(interrupted) => interrupted.rest.run(&mut failing).expect("it fails once"),
            };
            let Blocking::Asleep(blocked) = blocking else { panic!("nothing is posted") };
            assert_eq!((host.control(0), host.lists.blocked_on(CpuId(1))), (control(WAKE_UP, 1), vec![key(0)]));
            let running = again(blocked.load(CpuId(3)), &mut failing);
            assert_eq!((running.state(), host.control(0)), (&Running(CpuId(3)), control(NOTIFICATION, 3)));
            assert_eq!(host.lists.blocked_on(CpuId(1)), []);
        }
    }
}

fn again<S: std::fmt::Debug>(way: Transition<S>, carrier: &mut impl Carrier) -> Residency<S> {
    match way.run(carrier) {
        Ok(there) => there,
        Err(interrupted) => {
            assert_eq!(interrupted.rest.steps()[0], interrupted.step);
            interrupted.rest.run(carrier).expect("it fails once")
        }
    }
}

fn control(vector: u8, cpu: u32) -> PostedControl {
    PostedControl::new().with_vector(vector).with_destination(PostedDestination::from_bits(cpu * 4))
}
