//! Steps on AVIC's tables: the same as the engine's own calls, and no interrupt is slept over between any two of them.

use std::cell::Cell;
use std::cell::RefCell;

use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::TlbControl;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::EntryCell;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Leaving;
use hypervisor_lib::delivery::avic::Left;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::Place;
use hypervisor_lib::delivery::avic::SharedAsid;
use hypervisor_lib::delivery::avic::TableError;
use hypervisor_lib::delivery::avic::Told;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::avic::post;
use hypervisor_lib::migration::AvicWords;
use hypervisor_lib::migration::Blocking;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::Offline;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Running;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Vcpu;
use vector_allocator::CpuId;

use crate::host::key;
use crate::host::vector;

const ID: ApicId = ApicId(0);

#[derive(Default)]
struct Log(RefCell<Vec<Action>>);

impl Host for Log {
    fn act(&self, action: Action) {
        self.0.borrow_mut().push(action);
    }
}

fn number(cpu: CpuId) -> Option<HostApicId> {
    (cpu.0 < 8).then(|| HostApicId::new(cpu.0 * 2).expect("small"))
}

fn irte(index: u16) -> IrteIndex {
    IrteIndex { device: 0x310, index }
}

fn table(cells: &[PhysicalCell]) -> PhysicalTable<'_> {
    PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, cells, IpiVirtualization::On).expect("a table")
}

fn vcpu<'a>(cells: &'a [PhysicalCell], page: &'a BackingPage, devices: u16, log: &Log) -> AvicVcpu<'a> {
    table(cells).insert(ID, 1).expect("room");
    let mut vcpu = AvicVcpu::new(ID, GaTag(0x7000), table(cells), page).expect("in the table");
    for device in 0..devices {
        vcpu.attach(irte(device), vector(0x51), log).expect("in the table");
    }
    log.0.take();
    vcpu
}

fn residency(devices: u16) -> Residency<Offline> {
    let irtes = (0..devices).map(irte).collect();
    Residency::new(Vcpu { key: key(0), record: Record::PhysicalTable { mode: Mode::XAvic, irtes } })
}

#[test]
fn steps_leave_the_same_words_and_ask_for_the_same_as_the_engines_own_calls() {
    for devices in [0, 1, 3] {
        for is_due in [false, true] {
            let cells = [[PhysicalCell::default()], [PhysicalCell::default()]];
            let pages = [BackingPage::default(), BackingPage::default()];
            let logs = [Log::default(), Log::default()];
            let mut by_steps = vcpu(&cells[0], &pages[0], devices, &logs[0]);
            let mut by_engine = vcpu(&cells[1], &pages[1], devices, &logs[1]);
            let same = |by_steps: &AvicVcpu<'_>, by_engine: &AvicVcpu<'_>| {
                assert_eq!(cells[0][0].load(), cells[1][0].load());
                assert_eq!(by_steps.place(), by_engine.place());
                assert_eq!(logs[0].0.take(), logs[1].0.take());
            };
            let space = None;
            let mut words = AvicWords { vcpu: &mut by_steps, host: &logs[0], number, space, flush: TlbControl::Keep };
            let running = residency(devices).load(CpuId(3)).run(&mut words).expect("in the table");
            by_engine.enter(HostApicId::new(6).expect("small"), &logs[1]).expect("in the table");
            same(words.vcpu, &by_engine);
            let preempted = running.preempt().run(&mut words).expect("in the table");
            assert_eq!(by_engine.leave(Leaving::Preempting, &logs[1]), Ok(Left::Gone));
            same(words.vcpu, &by_engine);
            let running = preempted.load(CpuId(1)).run(&mut words).expect("in the table");
            by_engine.enter(HostApicId::new(2).expect("small"), &logs[1]).expect("in the table");
            same(words.vcpu, &by_engine);
            if is_due {
                for (cells, page, log) in [(&cells[0], &pages[0], &logs[0]), (&cells[1], &pages[1], &logs[1])] {
                    let told = post(table(cells), ID, page, vector(0x61), TriggerMode::Edge, log);
                    assert_eq!(told, Ok(Told::Doorbell));
                }
            }
            let blocking = running.block().run(&mut words).expect("in the table");
            let left = by_engine.leave(Leaving::Blocking, &logs[1]).expect("in the table");
            same(words.vcpu, &by_engine);
            match blocking {
                Blocking::Asleep(blocked) => {
                    assert_eq!(left, Left::Gone);
                    blocked.load(CpuId(0)).run(&mut words).expect("in the table");
                }
                Blocking::Runnable(preempted) => {
                    assert_eq!(left, Left::AwakeAfterAll(vector(0x61)));
                    preempted.load(CpuId(0)).run(&mut words).expect("in the table");
                }
                Blocking::GoesOn(_) => panic!("it has left its CPU"),
            }
            by_engine.enter(HostApicId::new(0).expect("small"), &logs[1]).expect("in the table");
            same(words.vcpu, &by_engine);
        }
    }
}

/// A sender that makes a vector pending once, before the step of a number, by the rules: the bit first, the look after.
struct Sending<'c, C> {
    carrier: &'c mut C,
    send: &'c dyn Fn() -> Told,
    moment: usize,
    steps: usize,
    told: Option<Told>,
}

impl<C: Carrier> Carrier for Sending<'_, C> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        if self.steps == self.moment {
            self.told = Some((self.send)());
        }
        self.steps += 1;
        self.carrier.carry_out(step)
    }
}

#[test]
fn a_send_between_any_two_steps_of_halting_keeps_the_vcpu_awake_or_wakes_it() {
    for moment in 0..5 {
        let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
        let mut vcpu = vcpu(&cells, &page, 2, &log);
        let mut words = AvicWords { vcpu: &mut vcpu, host: &log, number, space: None, flush: TlbControl::Keep };
        let running = residency(2).load(CpuId(1)).run(&mut words).expect("in the table");
        let sender = Log::default();
        let send = || post(table(&cells), ID, &page, vector(0x61), TriggerMode::Edge, &sender).expect("in the table");
        let mut carrier = Sending { carrier: &mut words, send: &send, moment, steps: 0, told: None };
        let blocking = running.block().run(&mut carrier).expect("in the table");
        assert_eq!(carrier.steps, 5, "two entries, their invalidation, IsRunning, the look");
        let told = carrier.told.expect("it has sent");
        match blocking {
            Blocking::Asleep(_) => assert_eq!(told, Told::Woken, "before step {moment}"),
            Blocking::Runnable(_) => assert_eq!(vcpu.place(), Place::Preempted),
            Blocking::GoesOn(_) => panic!("it has left its CPU"),
        }
    }
}

#[test]
fn another_vcpu_of_the_vm_on_the_same_core_is_flushed_out() {
    let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
    let mut vcpu = vcpu(&cells, &page, 0, &log);
    let mut asid = SharedAsid::new(4);
    asid.enter(3, ApicId(7), Mode::XAvic).expect("a core");
    let space = Some((&mut asid, ID));
    let mut words = AvicWords { vcpu: &mut vcpu, host: &log, number, space, flush: TlbControl::Keep };
    let running = residency(0).load(CpuId(2)).run(&mut words).expect("in the table");
    assert_eq!(words.flush, TlbControl::Keep);
    let preempted = running.preempt().run(&mut words).expect("in the table");
    preempted.load(CpuId(3)).run(&mut words).expect("in the table");
    assert_eq!(words.flush, TlbControl::FlushGuest);
}

#[test]
fn a_step_that_the_tables_refuse_says_which_and_the_rest_is_tried_again() {
    let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
    let mut vcpu = vcpu(&cells, &page, 1, &log);
    let knows = Cell::new(7);
    let number = |cpu: CpuId| number(cpu).filter(|_| cpu.0 < knows.get());
    let mut words = AvicWords { vcpu: &mut vcpu, host: &log, number, space: None, flush: TlbControl::Keep };
    let interrupted = residency(1).load(CpuId(7)).run(&mut words).expect_err("no such CPU");
    assert_eq!((interrupted.step, interrupted.error), (Step::SetRunning(CpuId(7)), StepError::NoCpu(CpuId(7))));
    knows.set(8);
    let running = interrupted.rest.run(&mut words).expect("it is there now");
    assert_eq!(running.state(), &Running(CpuId(7)));
    table(&cells).remove(ID).expect("there");
    let interrupted = running.preempt().run(&mut words).expect_err("not in the table");
    assert_eq!(interrupted.error, StepError::Table(TableError::Absent(ID)));
    assert_eq!(interrupted.rest.steps(), [Step::ClearRunning]);
}
