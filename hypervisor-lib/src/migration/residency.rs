//! Where a vCPU is, as types, over every engine: what can be done next, and by which steps.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use vector_allocator::CpuId;

use super::carrier::Carrier;
use super::carrier::Outcome;
use super::carrier::StepError;
use super::step::Carried;
use super::step::Look;
use super::step::Said;
use super::step::Step;
use crate::delivery::avic::IrteIndex;
use crate::delivery::avic::Mode;
use crate::delivery::posted::Protocol;
use crate::delivery::posted::VcpuKey;

/// What tells senders where a vCPU is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A posted-interrupt descriptor.
    Descriptor(Protocol),
    /// An entry of a physical APIC-ID table, and the remapping entries that deliver to the vCPU.
    PhysicalTable {
        /// How the guest reaches its local APIC.
        mode: Mode,
        /// The entries.
        irtes: Vec<IrteIndex>,
    },
    /// The hypervisor's own note: a local APIC in software, or event channels.
    Note(Carried),
}

/// A vCPU and its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Whose, and which.
    pub key: VcpuKey,
    /// What tells senders where it is.
    pub record: Record,
}

/// It runs on a physical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running(pub CpuId);
/// It waits for a physical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preempted;
/// It waits for an interrupt; a descriptor's vCPU on the list of this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked(pub CpuId);
/// It is not to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offline;

/// A vCPU where it is. There is one of these for each vCPU, and only transitions make others.
#[derive(Debug, PartialEq, Eq)]
pub struct Residency<S> {
    vcpu: Vcpu,
    state: S,
}

/// A way to another state: steps to be carried out in order.
#[derive(Debug)]
#[must_use]
pub struct Transition<S> {
    steps: Vec<Step>,
    done: usize,
    after: Residency<S>,
}

/// A transition that could not go on. What has been done stays; [`run`](Transition::run) goes on with the step that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct Interrupted<T> {
    /// The step.
    pub step: Step,
    /// Why.
    #[source]
    pub error: StepError,
    /// What is left.
    pub rest: Box<T>,
}

/// An attempt to block.
#[derive(Debug)]
#[must_use]
pub struct Block {
    way: Transition<Blocked>,
    course: Course,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    FallsAsleep,
    GoesOn,
}

/// What has become of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Blocking {
    /// It sleeps until something wakes it.
    Asleep(Residency<Blocked>),
    /// Something had come: it goes on where it was.
    GoesOn(Residency<Running>),
    /// Something had come: it is to be loaded again.
    Runnable(Residency<Preempted>),
}

impl Residency<Offline> {
    /// A vCPU that has not run yet.
    #[must_use]
    pub const fn new(vcpu: Vcpu) -> Self {
        Self { vcpu, state: Offline }
    }

    /// It begins to run.
    pub fn load(self, cpu: CpuId) -> Transition<Running> {
        let steps = self.vcpu.record.load(cpu);
        self.turn(steps, Running(cpu))
    }
}

impl Residency<Running> {
    /// The scheduler gives its CPU to another.
    pub fn preempt(self) -> Transition<Preempted> {
        let steps = self.vcpu.record.preempt();
        self.turn(steps, Preempted)
    }

    /// It has nothing to do until an interrupt comes.
    pub fn block(self) -> Block {
        let cpu = self.state.0;
        let steps = self.vcpu.record.block(cpu);
        Block { way: self.turn(steps, Blocked(cpu)), course: Course::FallsAsleep }
    }
}

impl Residency<Preempted> {
    /// It runs again, here or elsewhere.
    pub fn load(self, cpu: CpuId) -> Transition<Running> {
        let steps = self.vcpu.record.load(cpu);
        self.turn(steps, Running(cpu))
    }

    /// It is not to run any more.
    pub fn retire(self) -> Transition<Offline> {
        self.turn(Vec::new(), Offline)
    }
}

impl Residency<Blocked> {
    /// It has been woken, and runs here or elsewhere.
    pub fn load(self, cpu: CpuId) -> Transition<Running> {
        let record = &self.vcpu.record;
        let steps = record.wake().into_iter().chain(record.load(cpu)).collect();
        self.turn(steps, Running(cpu))
    }

    /// It is not to run any more.
    pub fn retire(self) -> Transition<Offline> {
        let steps = match &self.vcpu.record {
            Record::Descriptor(_) => vec![Step::Suppress, Step::LeaveWakeList],
            Record::PhysicalTable { irtes, .. } => said(irtes, Said::Waiting),
            Record::Note(_) => vec![Step::NoteRunnable],
        };
        self.turn(steps, Offline)
    }

    /// The CPU whose list it is on has gone: it is on this one's.
    #[must_use]
    pub fn relocated(self, to: CpuId) -> Self {
        Self { state: Blocked(to), ..self }
    }
}

impl<S> Residency<S> {
    /// The vCPU.
    #[must_use]
    pub const fn vcpu(&self) -> &Vcpu {
        &self.vcpu
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> &S {
        &self.state
    }

    pub(super) fn in_state<T>(self, state: T) -> Residency<T> {
        Residency { vcpu: self.vcpu, state }
    }

    fn turn<T>(self, steps: Vec<Step>, state: T) -> Transition<T> {
        Transition { steps, done: 0, after: self.in_state(state) }
    }
}

impl<S> Transition<S> {
    /// What is still to be done.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps[self.done..]
    }

    /// Carries the steps out.
    ///
    /// # Errors
    /// [`Interrupted`] at the first that fails.
    pub fn run(mut self, carrier: &mut impl Carrier) -> Result<Residency<S>, Interrupted<Self>> {
        match self.carry(carrier) {
            Ok(_) => Ok(self.after),
            Err((step, error)) => Err(Interrupted { step, error, rest: Box::new(self) }),
        }
    }

    /// The outcome of the last step.
    fn carry(&mut self, carrier: &mut impl Carrier) -> Result<Outcome, (Step, StepError)> {
        let mut last = Outcome::Done;
        while let Some(step) = self.steps.get(self.done) {
            last = carrier.carry_out(step).map_err(|error| (*step, error))?;
            self.done += 1;
        }
        Ok(last)
    }
}

impl Block {
    /// What is still to be done.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.way.steps()
    }

    /// Carries the steps out, and takes them back if something waits already.
    ///
    /// # Errors
    /// [`Interrupted`] at the first that fails.
    pub fn run(mut self, carrier: &mut impl Carrier) -> Result<Blocking, Interrupted<Self>> {
        if self.course == Course::FallsAsleep {
            let outcome = match self.way.carry(carrier) {
                Ok(outcome) => outcome,
                Err((step, error)) => return Err(Interrupted { step, error, rest: Box::new(self) }),
            };
            let blocked = &self.way.after;
            match (outcome, &blocked.vcpu.record) {
                (Outcome::Found, Record::PhysicalTable { .. }) => {
                    return Ok(Blocking::Runnable(self.way.after.in_state(Preempted)));
                }
                (Outcome::Found, Record::Descriptor(Protocol::Xen) | Record::Note(_)) => {
                    let awake = blocked.vcpu.record.awake();
                    self.way.steps.extend(awake);
                    self.course = Course::GoesOn;
                }
                // KVM's: its own CPU has been sent the wake-up vector.
                (Outcome::Found, Record::Descriptor(Protocol::Kvm)) | (Outcome::Done, _) => {
                    return Ok(Blocking::Asleep(self.way.after));
                }
            }
        }
        match self.way.carry(carrier) {
            Ok(_) => {
                let Blocked(cpu) = self.way.after.state;
                Ok(Blocking::GoesOn(self.way.after.in_state(Running(cpu))))
            }
            Err((step, error)) => Err(Interrupted { step, error, rest: Box::new(self) }),
        }
    }
}

impl Record {
    /// What goes with the vCPU unchanged.
    pub(super) const fn carried(&self) -> Carried {
        match self {
            Self::Descriptor(_) => Carried::VmcsAndPage,
            Self::PhysicalTable { .. } => Carried::BackingPage,
            Self::Note(carried) => *carried,
        }
    }

    /// Before it runs on `cpu`.
    pub(super) fn load(&self, cpu: CpuId) -> Vec<Step> {
        match self {
            Self::Descriptor(_) => vec![Step::Aim(cpu), Step::FindPosted(Look::BeforeRunning)],
            Self::PhysicalTable { mode, irtes } => {
                let flush = (*mode == Mode::XAvic).then_some(Step::FlushIfAnotherRan(cpu));
                let said = said(irtes, Said::Running(cpu));
                [Step::SetRunning(cpu)].into_iter().chain(said).chain(flush).collect()
            }
            Self::Note(_) => vec![Step::AimKicks(cpu), Step::FindPending(Look::BeforeRunning)],
        }
    }

    /// Before it is loaded, if it was blocked.
    pub(super) const fn wake(&self) -> Option<Step> {
        match self {
            Self::Descriptor(_) => Some(Step::LeaveWakeList),
            Self::PhysicalTable { .. } => None,
            Self::Note(_) => Some(Step::NoteRunnable),
        }
    }

    /// Before it leaves its CPU for another vCPU.
    pub(super) fn preempt(&self) -> Vec<Step> {
        match self {
            Self::Descriptor(_) => vec![Step::Suppress],
            Self::PhysicalTable { irtes, .. } => leave(irtes, Said::Waiting),
            Self::Note(_) => Vec::new(),
        }
    }

    fn block(&self, cpu: CpuId) -> Vec<Step> {
        match self {
            Self::Descriptor(_) => {
                vec![Step::JoinWakeList(cpu), Step::NameWakeUp, Step::FindPosted(Look::BeforeSleeping)]
            }
            Self::PhysicalTable { irtes, .. } => {
                leave(irtes, Said::Sleeping).into_iter().chain([Step::FindDue]).collect()
            }
            Self::Note(_) => vec![Step::NoteAsleep, Step::FindPending(Look::BeforeSleeping)],
        }
    }

    /// What takes back an attempt to block that found something; nothing where the vCPU has left, or is woken.
    fn awake(&self) -> Vec<Step> {
        match self {
            Self::Descriptor(Protocol::Xen) => vec![Step::LeaveWakeList, Step::NameNotification],
            Self::Descriptor(Protocol::Kvm) | Self::PhysicalTable { .. } => Vec::new(),
            Self::Note(_) => vec![Step::NoteRunnable],
        }
    }
}

/// The entries first, so that no device rings a CPU that the table no longer names.
fn leave(irtes: &[IrteIndex], said_there: Said) -> Vec<Step> {
    said(irtes, said_there).into_iter().chain([Step::ClearRunning]).collect()
}

/// Every entry, and an invalidation if there are any.
fn said(irtes: &[IrteIndex], said: Said) -> Vec<Step> {
    let stores = irtes.iter().map(|irte| Step::SayInIrte(*irte, said));
    let flush = (!irtes.is_empty()).then_some(Step::InvalidateIrtes);
    stores.chain(flush).collect()
}
