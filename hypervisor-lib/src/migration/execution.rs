//! Carrying a plan out, step by step, and what can be done when a step fails.

use super::carrier::Carrier;
use super::carrier::Outcome;
use super::carrier::StepError;
use super::plan::Plan;
use super::plan::Planned;
use super::plan::Stage;
use super::residency::Residency;
use super::residency::Running;
use super::step::Step;

/// A plan that is being carried out.
#[derive(Debug, PartialEq, Eq)]
pub struct Execution {
    plan: Plan,
    done: usize,
}

/// A step that has failed. Everything before it is done, and nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {number} of {steps} failed, {step}: {standing}; {remedy}", standing = stage.standing(), remedy = stage.remedy())]
pub struct Stopped {
    /// Which, from 1.
    pub number: usize,
    /// Of how many.
    pub steps: usize,
    /// The step.
    pub step: Step,
    /// Its stage, which names where things stand.
    pub stage: Stage,
    /// Why.
    #[source]
    pub error: StepError,
}

impl Execution {
    /// A plan of which nothing is done.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self { plan, done: 0 }
    }

    /// The step that is next.
    #[must_use]
    pub fn next(&self) -> Option<Planned> {
        self.plan.steps.get(self.done).copied()
    }

    /// Where things stand.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.next().map_or(Stage::Settled, |planned| planned.stage)
    }

    /// Carries out the next step; none if all are done.
    ///
    /// # Errors
    /// [`Stopped`]: the step may be tried again by calling this again.
    pub fn step(&mut self, carrier: &mut impl Carrier) -> Result<Option<Outcome>, Stopped> {
        let Some(Planned { stage, step }) = self.next() else { return Ok(None) };
        let (number, steps) = (self.done + 1, self.plan.steps.len());
        let outcome = carrier.carry_out(&step).map_err(|error| Stopped { number, steps, step, stage, error })?;
        self.done += 1;
        Ok(Some(outcome))
    }

    /// Carries out what is left.
    ///
    /// # Errors
    /// [`Stopped`]: calling this again goes on with the step that failed.
    pub fn run(&mut self, carrier: &mut impl Carrier) -> Result<(), Stopped> {
        while self.step(carrier)?.is_some() {}
        Ok(())
    }

    /// The vCPU on its new CPU.
    ///
    /// # Errors
    /// Steps are left: the execution itself.
    pub fn finish(self) -> Result<Residency<Running>, Self> {
        if self.next().is_none() { Ok(self.plan.after) } else { Err(self) }
    }

    /// The plan that brings the vCPU and its sources back, whatever has been done.
    pub fn roll_back(self) -> Plan {
        self.plan.back(self.done)
    }
}
