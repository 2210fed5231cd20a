//! Steps on the hypervisor's own note: a local APIC in software, or event channels.

use std::cell::Cell;
use std::cell::RefCell;

use hypervisor_lib::migration::Blocking;
use hypervisor_lib::migration::Carried;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::KickTarget;
use hypervisor_lib::migration::NoteWords;
use hypervisor_lib::migration::Offline;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Running;
use hypervisor_lib::migration::Sleep;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Vcpu;
use vector_allocator::CpuId;

use crate::host::key;

/// A note, and whoever sends: the bit first, the look at the note after.
#[derive(Default)]
struct Note {
    cpu: Cell<u32>,
    is_asleep: Cell<bool>,
    is_pending: Cell<bool>,
    told: RefCell<Vec<Told>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Woken,
    Kicked(u32),
}

impl KickTarget for Note {
    fn aim(&self, cpu: CpuId) {
        self.cpu.set(cpu.0);
    }

    fn set_asleep(&self, sleep: Sleep) {
        self.is_asleep.set(sleep == Sleep::Asleep);
    }

    fn is_pending(&self) -> bool {
        self.is_pending.get()
    }
}

impl Note {
    fn send(&self) {
        self.is_pending.set(true);
        let told = if self.is_asleep.get() { Told::Woken } else { Told::Kicked(self.cpu.get()) };
        self.told.borrow_mut().push(told);
    }
}

/// Sends once, before the step of a number.
struct Sending<'n> {
    note: &'n Note,
    moment: usize,
    steps: usize,
}

impl Carrier for Sending<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        if self.steps == self.moment {
            self.note.send();
        }
        self.steps += 1;
        NoteWords(self.note).carry_out(step)
    }
}

fn vcpu(carried: Carried) -> Residency<Offline> {
    Residency::new(Vcpu { key: key(0), record: Record::Note(carried) })
}

#[test]
fn a_send_between_any_two_steps_of_halting_keeps_the_vcpu_awake_or_wakes_it() {
    for carried in [Carried::Registers, Carried::EventWords] {
        for moment in 0..=2 {
            let note = Note::default();
            let running = vcpu(carried).load(CpuId(2)).run(&mut NoteWords(&note)).expect("the note is there");
            let mut carrier = Sending { note: &note, moment, steps: 0 };
            match running.block().run(&mut carrier).expect("the note is there") {
                Blocking::Asleep(blocked) => {
                    assert_eq!((moment, note.is_asleep.get()), (2, true));
                    note.send();
                    assert_eq!(note.told.take(), [Told::Woken]);
                    let running = blocked.load(CpuId(1)).run(&mut NoteWords(&note)).expect("the note is there");
                    assert_eq!((running.state(), note.cpu.get(), note.is_asleep.get()), (&Running(CpuId(1)), 1, false));
                }
                Blocking::GoesOn(running) => {
                    assert!(moment < 2 && !note.is_asleep.get());
                    assert_eq!(running.state(), &Running(CpuId(2)));
                }
                Blocking::Runnable(_) => panic!("it does not leave its CPU"),
            }
        }
    }
}

#[test]
fn a_move_aims_kicks_before_it_looks_at_what_came_meanwhile() {
    for moment in 0..=3 {
        let note = Note::default();
        let running = vcpu(Carried::EventWords).load(CpuId(0)).run(&mut NoteWords(&note)).expect("the note is there");
        let mut carrier = Sending { note: &note, moment, steps: 0 };
        let preempted = running.preempt().run(&mut carrier).expect("the note is there");
        let way = preempted.load(CpuId(3));
        assert_eq!(way.steps()[0], Step::AimKicks(CpuId(3)));
        let mut found = Outcome::Done;
        for step in way.steps() {
            found = carrier.carry_out(step).expect("the note is there");
        }
        match note.told.take()[..] {
            [Told::Kicked(0)] => assert_eq!((moment, found), (0, Outcome::Found), "the kick went to the old CPU"),
            [Told::Kicked(3)] => assert_eq!(moment, 1),
            [] => assert!(moment >= 2),
            ref other => panic!("{other:?}"),
        }
    }
    let refused = NoteWords(&Note::default()).carry_out(&Step::Suppress);
    assert_eq!(refused, Err(StepError::NotOurs));
}
