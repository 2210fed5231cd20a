//! A move as data: all its steps in order, to be printed, simulated or carried out.

use alloc::vec::Vec;
use core::fmt;

use vector_allocator::CpuId;

use super::residency::Blocked;
use super::residency::Preempted;
use super::residency::Residency;
use super::residency::Running;
use super::residency::Vcpu;
use super::step::Source;
use super::step::Step;

/// A part of a move, and where things stand as long as it is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Vectors are taken where the sources go.
    Prepare,
    /// The vCPU leaves its CPU.
    Leave,
    /// It is entered in the records as on the new CPU.
    Enter,
    /// Its sources are sent after it.
    Redirect,
    /// What the sources had before is given back.
    Settle,
    /// All is done.
    Settled,
}

impl Stage {
    /// Where things stand when a move has stopped in it.
    #[must_use]
    pub const fn standing(self) -> &'static str {
        match self {
            Self::Prepare => "the vCPU and its sources are where they were; vectors may be taken on the new CPU",
            Self::Leave | Self::Enter => "the vCPU is on no CPU and must not run; what comes for it waits",
            Self::Redirect => {
                "the vCPU is on the new CPU, some of its sources are sent to the old one, and nothing is lost"
            }
            Self::Settle => "the vCPU and its sources are on the new CPU; old vectors are still taken",
            Self::Settled => "the vCPU and its sources are on the new CPU",
        }
    }

    /// What can be done about a move that has stopped in it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Prepare => "roll back, or move the vCPU without that source",
            Self::Leave | Self::Enter => "try the step again, or roll back",
            Self::Redirect => "try the step again, leave the source where it is, or roll back",
            Self::Settle => "try the step again once the old CPU has taken and ended what waits",
            Self::Settled => "nothing is to be done",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Leave => "leave",
            Self::Enter => "enter",
            Self::Redirect => "redirect",
            Self::Settle => "settle",
            Self::Settled => "settled",
        })
    }
}

/// A step in its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planned {
    /// The stage.
    pub stage: Stage,
    /// The step.
    pub step: Step,
}

/// A physical interrupt of the vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Following {
    /// The host takes it under a vector of its own.
    Remapped(Source),
    /// The IOMMU posts it to the vCPU's descriptor.
    Posted {
        /// The host's number for it.
        irq: u32,
    },
}

/// A move of a vCPU from one CPU to another.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) from: CpuId,
    pub(super) to: CpuId,
    pub(super) steps: Vec<Planned>,
    /// The vCPU once all steps are done.
    pub(super) after: Residency<Running>,
}

impl Residency<Running> {
    /// The plan of a move while it runs.
    pub fn move_to(self, to: CpuId, sources: &[Following]) -> Plan {
        let (from, leave) = (self.state().0, self.vcpu().record.preempt());
        Plan::new(self.in_state(Running(to)), from, leave, None, sources)
    }
}

impl Residency<Preempted> {
    /// The plan of a move while it waits for a CPU; `from` is where it ran last, and its sources are sent.
    pub fn move_to(self, from: CpuId, to: CpuId, sources: &[Following]) -> Plan {
        Plan::new(self.in_state(Running(to)), from, Vec::new(), None, sources)
    }
}

impl Residency<Blocked> {
    /// The plan of a move when it has been woken to run elsewhere than where it fell asleep.
    pub fn move_to(self, to: CpuId, sources: &[Following]) -> Plan {
        let (from, awake) = (self.state().0, self.vcpu().record.wake());
        Plan::new(self.in_state(Running(to)), from, Vec::new(), awake, sources)
    }
}

impl Plan {
    fn new(
        after: Residency<Running>,
        from: CpuId,
        leave: Vec<Step>,
        awake: Option<Step>,
        following: &[Following],
    ) -> Self {
        let to = after.state().0;
        let record = &after.vcpu().record;
        let sources = || {
            following.iter().filter_map(|following| match following {
                Following::Remapped(source) => Some(*source),
                Following::Posted { .. } => None,
            })
        };
        let posted = following.iter().filter_map(|following| match following {
            Following::Posted { irq } => Some(Step::LeavePosted { irq: *irq }),
            Following::Remapped(_) => None,
        });
        let in_stage = |stage| move |step| Planned { stage, step };
        let carry = Step::Carry(record.carried());
        let mut steps: Vec<Planned> =
            sources().map(|source| Step::Reserve(source, to)).map(in_stage(Stage::Prepare)).collect();
        steps.extend(leave.into_iter().map(in_stage(Stage::Leave)));
        let enter = awake.into_iter().chain(record.load(to)).chain([carry]).chain(posted);
        steps.extend(enter.map(in_stage(Stage::Enter)));
        steps.extend(sources().map(Step::Program).map(in_stage(Stage::Redirect)));
        let settle = sources().flat_map(|source| [Step::Drain(source), Step::Release(source)]);
        steps.extend(settle.map(in_stage(Stage::Settle)));
        Self { from, to, steps, after }
    }

    /// The way back of a move of which so many steps are done.
    pub(super) fn back(self, done: usize) -> Self {
        let Self { from, to, steps, after } = self;
        let done = &steps[..done];
        let has_begun = |stage| done.iter().any(|planned| planned.stage == stage);
        let reserved = done.iter().filter_map(|planned| match planned.step {
            Step::Reserve(source, _) | Step::TakeBack(source, _) => Some(source),
            _ => None,
        });
        let reserved: Vec<Source> = reserved.collect();
        let programmed = done.iter().filter(|planned| matches!(planned.step, Step::Program(_)));
        let record = &after.vcpu().record;
        let in_stage = |stage| move |step| Planned { stage, step };
        let take_back = reserved.iter().map(|source| Step::TakeBack(*source, from));
        let mut back: Vec<Planned> = take_back.map(in_stage(Stage::Prepare)).collect();
        if has_begun(Stage::Enter) {
            back.extend(record.preempt().into_iter().map(in_stage(Stage::Leave)));
        }
        if has_begun(Stage::Leave) || has_begun(Stage::Enter) {
            back.extend(record.load(from).into_iter().map(in_stage(Stage::Enter)));
        }
        back.extend(programmed.map(|planned| Planned { stage: Stage::Redirect, step: planned.step }));
        let settle = reserved.iter().flat_map(|source| [Step::Drain(*source), Step::Release(*source)]);
        back.extend(settle.map(in_stage(Stage::Settle)));
        Self { from: to, to: from, steps: back, after: after.in_state(Running(from)) }
    }

    /// Its steps.
    #[must_use]
    pub fn steps(&self) -> &[Planned] {
        &self.steps
    }

    /// Whom it moves.
    #[must_use]
    pub const fn vcpu(&self) -> &Vcpu {
        self.after.vcpu()
    }

    /// From where to where.
    #[must_use]
    pub const fn way(&self) -> (CpuId, CpuId) {
        (self.from, self.to)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} moves from CPU {} to CPU {}", self.vcpu().key, self.from, self.to)?;
        list(f, &self.steps)
    }
}

/// One line a step.
pub(super) fn list(f: &mut fmt::Formatter<'_>, steps: &[Planned]) -> fmt::Result {
    (1..).zip(steps).try_for_each(|(number, Planned { stage, step })| {
        writeln!(f, "{number:>3}. {stage}: {step}: {} [{}]", step.reason(), step.source())
    })
}
