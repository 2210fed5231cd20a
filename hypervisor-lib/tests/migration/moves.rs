//! Whole moves: printed, carried out, stopped at every step, gone on with and rolled back.

use std::error::Error;

use hypervisor_abi::posted::PostedControl;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::migration::Blocking;
use hypervisor_lib::migration::Carried;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::Carriers;
use hypervisor_lib::migration::Execution;
use hypervisor_lib::migration::Following;
use hypervisor_lib::migration::LeasedSources;
use hypervisor_lib::migration::Nothing;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Plan;
use hypervisor_lib::migration::PostedWords;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Running;
use hypervisor_lib::migration::Source;
use hypervisor_lib::migration::Stage;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Vcpu;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Owner;
use vector_allocator::SourceKind;
use vector_allocator::VectorAllocator;

use crate::host::Devices;
use crate::host::Failing;
use crate::host::PROTOCOLS;
use crate::host::PostedHost;
use crate::host::allocator;
use crate::host::key;
use crate::host::posted_host;
use crate::host::source;

const FROM: CpuId = CpuId(0);
const TO: CpuId = CpuId(3);
const MODELS: [DestinationModel; 2] = [DestinationModel::Physical, DestinationModel::Logical { cluster_size: 2 }];

/// Says that every step is done.
struct Willing;

impl Carrier for Willing {
    fn carry_out(&mut self, _: &Step) -> Result<Outcome, StepError> {
        Ok(Outcome::Done)
    }
}

fn running(record: Record) -> Residency<Running> {
    Residency::new(Vcpu { key: key(0), record }).load(FROM).run(&mut Willing).expect("it is willing")
}

fn steps(plan: &Plan) -> Vec<Step> {
    plan.steps().iter().map(|planned| planned.step).collect()
}

/// A vCPU with two sources on CPU 0, in the middle of running there.
struct Host {
    posted: PostedHost,
    vectors: VectorAllocator,
    devices: Devices,
    sources: [Source; 2],
}

impl Host {
    fn new(protocol: Protocol, model: DestinationModel) -> Self {
        let (mut vectors, devices) = (allocator(model), Devices::default());
        let sources = [48, 49].map(|irq| source(&mut vectors, irq));
        for source in sources {
            let placement = vectors.placement(source.lease).expect("leased");
            devices.programmed.borrow_mut().insert(source.irq, (placement.vector, placement.target));
        }
        Self { posted: posted_host(protocol), vectors, devices, sources }
    }

    fn following(&self) -> [Following; 3] {
        let [first, second] = self.sources.map(Following::Remapped);
        [first, Following::Posted { irq: 50 }, second]
    }
}

/// What a move must bring about or leave alone.
#[derive(Debug, PartialEq, Eq)]
struct State {
    control: PostedControl,
    placed: Vec<(u8, CpuId)>,
    is_moving: Vec<bool>,
    programmed: Vec<(u8, CpuId)>,
}

fn state(host: &Host) -> State {
    let placements = || host.sources.iter().map(|source| host.vectors.placement(source.lease).expect("leased"));
    assert_eq!(host.vectors.check(), Ok(()));
    State {
        control: host.posted.control(0),
        placed: placements().map(|placement| (placement.vector.number(), placement.target)).collect(),
        is_moving: placements().map(|placement| placement.moving_from.is_some()).collect(),
        programmed: host.devices.programmed.borrow().values().map(|(vector, cpu)| (vector.number(), *cpu)).collect(),
    }
}

#[test]
fn a_move_stopped_at_any_step_goes_on_to_its_end_or_back_to_its_beginning() {
    for (protocol, model) in PROTOCOLS.into_iter().flat_map(|protocol| MODELS.map(|model| (protocol, model))) {
        let mut moved = None;
        // Thirteen steps there, and as many or fewer back: a way back may be stopped, too.
        for at in 0..26 {
            for goes_back in [false, true] {
                let mut host = Host::new(protocol, model);
                let mut words = PostedWords::new(&host.posted, key(0)).expect("a vCPU");
                let record = Record::Descriptor(protocol);
                let vcpu = Residency::new(Vcpu { key: key(0), record }).load(FROM).run(&mut words).expect("words");
                let before = state(&host);
                let following = host.following();
                let vectors = LeasedSources { vectors: &mut host.vectors, host: &host.devices };
                let mut carriers = Carriers { engine: words, vectors, host: Nothing };
                let mut failing = Failing { carrier: &mut carriers, at, count: 0 };
                let mut execution = Execution::new(vcpu.move_to(TO, &following));
                let stopped = execution.run(&mut failing).err();
                if let Some(stopped) = &stopped {
                    assert_eq!((stopped.number, stopped.stage), (at + 1, execution.stage()));
                    assert_eq!(execution.next().map(|planned| planned.step), Some(stopped.step));
                }
                let mut execution = match goes_back {
                    false => execution,
                    true => Execution::new(execution.roll_back()),
                };
                if execution.run(&mut failing).is_err() {
                    execution.run(&mut failing).expect("it fails once");
                }
                let there = execution.finish().expect("all steps are done");
                assert_eq!(there.state(), &Running(if goes_back { FROM } else { TO }));
                let after = state(&host);
                assert_eq!(after.placed, after.programmed, "devices send what is leased to them");
                assert_eq!(after.is_moving, [false, false], "nothing is left to drain");
                if goes_back {
                    let vectors_may_differ = stopped.is_none_or(|stopped| stopped.stage >= Stage::Settle);
                    assert_eq!(after.control, before.control, "{protocol:?}, step {at}");
                    assert!(vectors_may_differ || after == before, "{after:?} after, {before:?} before, step {at}");
                    assert!(after.placed.iter().all(|(_, cpu)| *cpu == FROM));
                } else {
                    assert!(after.placed.iter().all(|(_, cpu)| *cpu == TO));
                    assert_eq!(moved.get_or_insert_with(|| state(&host)), &after, "step {at}");
                }
            }
        }
    }
}

#[test]
fn a_move_that_finds_no_vector_stops_before_anything_has_changed() {
    let mut host = Host::new(Protocol::Xen, DestinationModel::Physical);
    let full = CpuSet::single(TO);
    while host.vectors.allocate(Owner::Dom0, SourceKind::EdgeMaskable, &full).is_ok() {}
    let before = state(&host);
    let following = host.following();
    let engine = PostedWords::new(&host.posted, key(0)).expect("a vCPU");
    let vectors = LeasedSources { vectors: &mut host.vectors, host: &host.devices };
    let mut carriers = Carriers { engine, vectors, host: Nothing };
    let mut execution = Execution::new(running(Record::Descriptor(Protocol::Xen)).move_to(TO, &following));
    let stopped = execution.run(&mut carriers).expect_err("no vector is left");
    assert_eq!((stopped.number, stopped.stage), (1, Stage::Prepare));
    let text = stopped.to_string();
    assert!(text.starts_with("step 1 of ") && text.contains("reserve a host vector on CPU 3 for IRQ 48"), "{text}");
    assert!(text.contains(Stage::Prepare.standing()) && text.ends_with(Stage::Prepare.remedy()), "{text}");
    assert!(stopped.source().is_some_and(|why| why.to_string().contains("IRQ 48")));
    let back = execution.roll_back();
    assert_eq!(back.steps(), [], "nothing is to be taken back");
    let State { control: _, placed, .. } = state(&host);
    assert_eq!(placed, before.placed);
}

#[test]
fn an_old_vector_that_still_waits_holds_the_move_in_its_last_stage_until_it_has_drained() {
    let mut host = Host::new(Protocol::Kvm, DestinationModel::Physical);
    let old = host.vectors.placement(host.sources[0].lease).expect("leased").vector;
    host.devices.live.borrow_mut().push((old, FROM));
    let following = host.following();
    let engine = PostedWords::new(&host.posted, key(0)).expect("a vCPU");
    let vectors = LeasedSources { vectors: &mut host.vectors, host: &host.devices };
    let mut carriers = Carriers { engine, vectors, host: Nothing };
    let mut execution = Execution::new(running(Record::Descriptor(Protocol::Kvm)).move_to(TO, &following));
    for _ in 0..3 {
        let stopped = execution.run(&mut carriers).expect_err("it still waits");
        assert_eq!((stopped.stage, stopped.step), (Stage::Settle, Step::Drain(host.sources[0])));
    }
    let execution = execution.finish().expect_err("it is not over");
    host.devices.live.borrow_mut().clear();
    let mut execution = execution;
    execution.run(&mut carriers).expect("it has drained");
    assert_eq!((execution.stage(), execution.next()), (Stage::Settled, None));
}

#[test]
fn vectors_are_reserved_before_the_vcpu_leaves_and_released_after_its_sources_have_followed() {
    let host = Host::new(Protocol::Xen, DestinationModel::Physical);
    let irtes = vec![IrteIndex { device: 0x300, index: 1 }, IrteIndex { device: 0x300, index: 2 }];
    let records = [
        Record::Descriptor(Protocol::Xen),
        Record::Descriptor(Protocol::Kvm),
        Record::PhysicalTable { mode: Mode::XAvic, irtes: irtes.clone() },
        Record::PhysicalTable { mode: Mode::X2Avic, irtes },
        Record::Note(Carried::Registers),
        Record::Note(Carried::EventWords),
    ];
    for record in records {
        let plan = running(record.clone()).move_to(TO, &host.following());
        let stages: Vec<Stage> = plan.steps().iter().map(|planned| planned.stage).collect();
        assert!(stages.is_sorted(), "{record:?}: {stages:?}");
        for source in host.sources {
            let order = [Step::Reserve(source, TO), Step::Program(source), Step::Drain(source), Step::Release(source)];
            let places = order.map(|step| steps(&plan).iter().position(|planned| *planned == step));
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{record:?}: {places:?}");
        }
        let carried = steps(&plan).into_iter().filter(|step| matches!(step, Step::Carry(_))).count();
        assert_eq!(carried, 1, "what is the vCPU's own is said to stay as it is");
    }
}

/// a vCPU that moved took the physical interrupts with it that were posted to it, to a vector nobody needed.
#[test]
fn r48_a_posted_source_has_no_step_that_changes_it() {
    for protocol in PROTOCOLS {
        let plan = running(Record::Descriptor(protocol)).move_to(TO, &[Following::Posted { irq: 50 }]);
        let expected = [
            Step::Suppress,
            Step::Aim(TO),
            Step::FindPosted(hypervisor_lib::migration::Look::BeforeRunning),
            Step::Carry(Carried::VmcsAndPage),
            Step::LeavePosted { irq: 50 },
        ];
        assert_eq!(steps(&plan), expected);
    }
}

#[test]
fn a_plan_prints_one_line_a_step_with_its_reason_and_source() {
    let host = Host::new(Protocol::Xen, DestinationModel::Physical);
    let plan = running(Record::Descriptor(Protocol::Xen)).move_to(TO, &host.following());
    let text = plan.to_string();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("d1v0 moves from CPU 0 to CPU 3"));
    let mut count = 0;
    for (line, planned) in lines.zip(plan.steps()) {
        count += 1;
        assert!(line.starts_with(&format!("{count:>3}. {}: {}: ", planned.stage, planned.step)), "{line}");
        assert!(line.ends_with(&format!("{} [{}]", planned.step.reason(), planned.step.source())), "{line}");
    }
    assert_eq!((count, count), (plan.steps().len(), text.lines().count() - 1));
}

#[test]
fn a_vcpu_that_is_woken_elsewhere_leaves_its_list_first_and_its_sources_follow() {
    let mut host = Host::new(Protocol::Xen, DestinationModel::Physical);
    let mut words = PostedWords::new(&host.posted, key(0)).expect("a vCPU");
    let vcpu = Residency::new(Vcpu { key: key(0), record: Record::Descriptor(Protocol::Xen) });
    let running = vcpu.load(FROM).run(&mut words).expect("words");
    let Blocking::Asleep(blocked) = running.block().run(&mut words).expect("words") else {
        panic!("nothing is posted")
    };
    assert_eq!(host.posted.lists.blocked_on(FROM), [key(0)]);
    let following = host.following();
    let vectors = LeasedSources { vectors: &mut host.vectors, host: &host.devices };
    let mut carriers = Carriers { engine: words, vectors, host: Nothing };
    let mut execution = Execution::new(blocked.move_to(TO, &following));
    execution.run(&mut carriers).expect("nothing stands against it");
    let running = execution.finish().expect("all steps are done");
    assert_eq!(host.posted.lists.blocked_on(FROM), []);
    let Ok(preempted) = running.preempt().run(&mut carriers) else { panic!("the words are there") };
    let mut execution = Execution::new(preempted.move_to(TO, FROM, &following));
    execution.run(&mut carriers).expect("nothing stands against it");
    assert!(state(&host).placed.iter().all(|(_, cpu)| *cpu == FROM));
}
