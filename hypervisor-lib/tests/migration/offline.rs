//! A physical CPU goes while vCPUs run on it and sleep on its list, and devices send to it.

use std::cell::RefCell;

use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::post;
use hypervisor_lib::migration::Blocking;
use hypervisor_lib::migration::Carriers;
use hypervisor_lib::migration::CpuOffline;
use hypervisor_lib::migration::HostLists;
use hypervisor_lib::migration::LeasedSources;
use hypervisor_lib::migration::Nothing;
use hypervisor_lib::migration::PostedWords;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Running;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Vcpu;
use hypervisor_lib::migration::Waker;
use vector_allocator::CpuId;
use vector_allocator::DestinationModel;
use vector_allocator::HotplugError;

use crate::host::Devices;
use crate::host::PROTOCOLS;
use crate::host::PostedHost;
use crate::host::allocator;
use crate::host::key;
use crate::host::posted_host;
use crate::host::source;
use crate::host::vector;

const DEAD: CpuId = CpuId(0);
const LIVE: CpuId = CpuId(2);

fn load(words: &mut PostedWords<'_, PostedHost>, vcpu: u32, protocol: Protocol) -> Residency<Running> {
    let record = Record::Descriptor(protocol);
    Residency::new(Vcpu { key: key(vcpu), record }).load(DEAD).run(words).expect("words")
}

/// interrupts that a dying CPU had acknowledged and not yet delivered were forgotten with it.
#[test]
fn r36_everything_that_pointed_at_a_cpu_that_goes_points_elsewhere() {
    for protocol in PROTOCOLS {
        let (posted, mut vectors, devices) =
            (posted_host(protocol), allocator(DestinationModel::Physical), Devices::default());
        let source = source(&mut vectors, 48);
        let old = vectors.placement(source.lease).expect("leased").vector;
        devices.live.borrow_mut().push((old, DEAD));
        let mut words = [0, 1].map(|vcpu| PostedWords::new(&posted, key(vcpu)).expect("a vCPU"));
        let runs = load(&mut words[0], 0, protocol);
        let sleeps = load(&mut words[1], 1, protocol);
        let Ok(Blocking::Asleep(sleeps)) = sleeps.block().run(&mut words[1]) else { panic!("nothing is posted") };
        assert!(
            post(&posted.vcpus[1].descriptor, vector(0x51), Urgency::Ordinary).is_some(),
            "sent to the CPU that goes"
        );

        let handed = RefCell::new(Vec::new());
        let mut going = CpuOffline::new(DEAD, LIVE, vec![runs], Waker::WakeLists);
        let text = going.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        let way = going.leaving.pop().expect("who runs there");
        let runnable = way.run(&mut words[0]).expect("words");
        assert!(posted.control(0).suppressed());
        let host = HostLists { host: &posted, hand_over: |from, to| handed.borrow_mut().push((from, to)) };
        let sources = LeasedSources { vectors: &mut vectors, host: &devices };
        going.run(&mut Carriers { engine: Nothing, vectors: sources, host }).expect("another CPU is online");

        assert_eq!((posted.lists.blocked_on(DEAD), posted.lists.blocked_on(LIVE)), (vec![], vec![key(1)]));
        assert_eq!(posted.take(), [PostingAction::Wake(key(1))], "the CPU that went may not have heard");
        assert_eq!(posted.control(1).destination().into_bits(), LIVE.0 * 4);
        assert_eq!(handed.take(), [(DEAD, LIVE)]);
        let [evacuation] = &devices.evacuated.borrow()[..] else { panic!("once") };
        let placement = vectors.placement(source.lease).expect("leased");
        let [forward] = evacuation.forwards[..] else { panic!("what waited is sent again: {evacuation:?}") };
        assert_eq!((forward.waited_on, forward.vector, forward.to), (old, placement.vector, placement.target));
        assert_ne!(placement.target, DEAD);

        let running = sleeps.relocated(LIVE).load(CpuId(1)).run(&mut words[1]).expect("words");
        assert_eq!((running.state(), posted.lists.blocked_on(LIVE)), (&Running(CpuId(1)), vec![]));
        runnable.load(LIVE).run(&mut words[0]).expect("words");
        assert_eq!(posted.control(0).destination().into_bits(), LIVE.0 * 4);
    }
}

#[test]
fn the_last_cpu_does_not_go_and_says_so() {
    let (posted, mut vectors, devices) =
        (posted_host(Protocol::Xen), allocator(DestinationModel::Physical), Devices::default());
    for cpu in 1..4 {
        vectors.take_offline(CpuId(cpu), &vector_allocator::VectorSet::EMPTY).expect("not the last");
    }
    let mut going = CpuOffline::new(DEAD, DEAD, Vec::new(), Waker::NoCpu);
    let handed = RefCell::new(0);
    let host = HostLists { host: &posted, hand_over: |_, _| *handed.borrow_mut() += 1 };
    let sources = LeasedSources { vectors: &mut vectors, host: &devices };
    let refused = going.run(&mut Carriers { engine: Nothing, vectors: sources, host }).expect_err("it is the last");
    assert_eq!(
        (refused.step, refused.error),
        (Step::Evacuate(DEAD), StepError::Hotplug(HotplugError::LastOnline { cpu: DEAD }))
    );
    assert_eq!((handed.take(), going.steps().len()), (0, 2), "it may be tried again");
}
