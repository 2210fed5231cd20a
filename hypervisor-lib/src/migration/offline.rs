//! A physical CPU goes: everything that points at it points elsewhere afterwards.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use vector_allocator::CpuId;

use super::carrier::Carrier;
use super::carrier::StepError;
use super::plan::Planned;
use super::plan::Stage;
use super::plan::list;
use super::residency::Preempted;
use super::residency::Residency;
use super::residency::Running;
use super::residency::Transition;
use super::step::Step;

/// What wakes blocked vCPUs of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waker {
    /// The lists of posted interrupts, one a CPU.
    WakeLists,
    /// The guest-APIC log of AVIC or the hypervisor's own notes, which name no CPU.
    NoCpu,
}

/// The plan of a CPU's going, in two parts: whoever runs on it leaves, each by its own transition; then the host's words
/// change. Nobody is loaded or blocked on it from the first step on.
#[derive(Debug)]
pub struct CpuOffline {
    cpu: CpuId,
    /// The ways of those that run there, whom the scheduler loads elsewhere.
    pub leaving: Vec<Transition<Preempted>>,
    steps: Vec<Step>,
}

/// A step of a CPU's going that has failed; it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CPU {cpu} cannot go: cannot {step}")]
pub struct CannotGo {
    /// The CPU.
    pub cpu: CpuId,
    /// The step.
    pub step: Step,
    /// Why.
    #[source]
    pub error: StepError,
}

impl CpuOffline {
    /// The plan for a CPU on which these vCPUs run. `to` takes over what is the CPU's own.
    ///
    /// Vectors first, work second: an interrupt that is sent to the CPU while its vectors move is acknowledged there and
    /// becomes such work.
    #[must_use]
    pub fn new(cpu: CpuId, to: CpuId, running: Vec<Residency<Running>>, waker: Waker) -> Self {
        let leaving = running.into_iter().map(Residency::<Running>::preempt).collect();
        let lists = match waker {
            Waker::WakeLists => Some(Step::MoveWakeList { from: cpu, to }),
            Waker::NoCpu => None,
        };
        let rest = vec![Step::Evacuate(cpu), Step::HandOver { from: cpu, to }];
        Self { cpu, leaving, steps: lists.into_iter().chain(rest).collect() }
    }

    /// The host's steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Carries out the host's steps, after everybody has left.
    ///
    /// # Errors
    /// [`CannotGo`]; calling this again goes on with the step that failed.
    pub fn run(&mut self, carrier: &mut impl Carrier) -> Result<(), CannotGo> {
        while let Some(step) = self.steps.first().copied() {
            let failed = |error| CannotGo { cpu: self.cpu, step, error };
            carrier.carry_out(&step).map_err(failed)?;
            self.steps.remove(0);
        }
        Ok(())
    }
}

impl fmt::Display for CpuOffline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CPU {} goes", self.cpu)?;
        let leaving = self.leaving.iter().flat_map(|way| way.steps()).map(|step| (Stage::Leave, *step));
        let rest = self.steps.iter().map(|step| (Stage::Redirect, *step));
        let steps: Vec<Planned> = leaving.chain(rest).map(|(stage, step)| Planned { stage, step }).collect();
        list(f, &steps)
    }
}
