//! A plan that is carried out while interrupts come, and the faults that befall it.

use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::Execution;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Planned;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Stopped;
use vector_allocator::AllocateError;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::MoveError;

use super::Delivered;
use super::Effect;
use super::Moment;
use super::Move;
use super::MoveRun;
use super::Passage;
use super::Sent;
use super::Way;
use super::bed::Bed;
use super::moment::Schedule;

/// What goes wrong with a step of the plan, by its number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It fails, and nothing of it happens.
    Fails(usize),
    /// Nothing of it happens, and it counts as done.
    LeftOut(usize),
}

/// How a step fails, if it can: a vector may not be had, a word may not take what is written.
pub(super) fn failure_of(step: &Step) -> Option<StepError> {
    match *step {
        Step::Reserve(source, cpu) => {
            let full = AllocateError::Full { cpus: CpuSet::single(cpu) };
            Some(StepError::NoVector(source, MoveError::NoVector { lease: source.lease, source: full }))
        }
        Step::Program(source) => Some(StepError::NotProgrammed(source)),
        Step::Suppress
        | Step::Aim(_)
        | Step::SayInIrte(..)
        | Step::InvalidateIrtes
        | Step::SetRunning(_)
        | Step::ClearRunning
        | Step::AimKicks(_) => Some(StepError::NotKept(0)),
        _ => None,
    }
}

/// A step with its fault.
struct Faulty<'b, B> {
    bed: &'b mut B,
    fault: Option<Fault>,
}

impl<B: Bed> Carrier for Faulty<'_, B> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        match self.fault {
            Some(Fault::Fails(_)) => failure_of(step).map_or_else(|| self.bed.carry_out(step), Err),
            Some(Fault::LeftOut(_)) => Ok(Outcome::Done),
            None => self.bed.carry_out(step),
        }
    }
}

/// A move under way.
pub(super) struct Journey<'a, B> {
    pub(super) of: &'a Move,
    pub(super) bed: B,
    pub(super) schedule: Schedule<'a>,
    pub(super) fault: Option<Fault>,
    /// What has happened so far.
    pub(super) run: MoveRun,
}

impl<B: Bed> Journey<'_, B> {
    /// Carries a plan out, enters the vCPU and lets it run.
    pub(super) fn go(&mut self, mut execution: Execution, way: Way) -> Result<(), (Box<Stopped>, Execution)> {
        let mut number = 0;
        while let Some(planned) = execution.next() {
            number += 1;
            self.interrupt(Moment::Before(number), way);
            if let Err(stopped) = self.step(&mut execution, planned, number, way) {
                return Err((stopped, execution));
            }
        }
        self.interrupt(Moment::BeforeEntry, way);
        self.run.cpu = match way {
            Way::There => self.of.to,
            Way::Back => self.of.from,
        };
        let cpu = self.run.cpu;
        self.bed.enter(cpu);
        let effects = self.effects();
        self.run.passages.push(Passage::Entered(cpu, effects));
        self.settle(cpu);
        self.interrupt(Moment::RunsHere(cpu), way);
        Ok(())
    }

    /// Carries a step out. What a drain finds waiting, its CPU takes, and the drain is tried again.
    fn step(
        &mut self,
        execution: &mut Execution,
        planned: Planned,
        number: usize,
        way: Way,
    ) -> Result<(), Box<Stopped>> {
        let fault = self.fault.filter(|fault| {
            let (Fault::Fails(faulty) | Fault::LeftOut(faulty)) = fault;
            way == Way::There && *faulty == number
        });
        let mut tries = 0;
        loop {
            let done = execution.step(&mut Faulty { bed: &mut self.bed, fault });
            let effects = self.effects();
            match done {
                Ok(outcome) => {
                    let outcome = outcome.filter(|_| fault.is_none());
                    self.run.passages.push(Passage::Step { way, number, planned, outcome, effects });
                    return Ok(());
                }
                Err(stopped) => {
                    let stopped = Box::new(stopped);
                    self.run.passages.push(Passage::Stopped(way, stopped.clone()));
                    tries += 1;
                    match &stopped.error {
                        StepError::Undrained { cpus, .. } if tries == 1 => {
                            cpus.iter().for_each(|cpu| self.take_in_host(cpu));
                        }
                        _ => return Err(stopped),
                    }
                }
            }
        }
    }

    /// Whoever sends at this moment does, and a vCPU that runs takes what it is made to take.
    pub(super) fn interrupt(&mut self, moment: Moment, way: Way) {
        let senders = match way {
            Way::There => self.schedule.next(),
            Way::Back => self.schedule.next_on_the_way_back(),
        };
        for sender in senders {
            let sent = Sent { sender, moment, way };
            self.run.sent += 1;
            self.run.lost.push(sent);
            self.bed.send(sender);
            if let Moment::RunsThere(cpu) | Moment::RunsHere(cpu) = moment {
                self.bed.go_on(cpu);
            }
            let effects = self.effects();
            self.run.passages.push(Passage::Sent(sent, effects));
        }
        if let Moment::RunsThere(cpu) | Moment::RunsHere(cpu) = moment {
            self.settle(cpu);
        }
    }

    /// The other CPU takes what waits there, and the vCPU, which runs on this one, what comes of that.
    fn settle(&mut self, cpu: CpuId) {
        let other = if cpu == self.of.to { self.of.from } else { self.of.to };
        self.take_in_host(other);
        self.bed.go_on(cpu);
        let effects = self.effects();
        if !effects.is_empty() {
            self.run.passages.push(Passage::Entered(cpu, effects));
        }
    }

    fn take_in_host(&mut self, cpu: CpuId) {
        self.bed.take_in_host(cpu);
        let effects = self.effects();
        if !effects.is_empty() {
            self.run.passages.push(Passage::Host(cpu, effects));
        }
    }

    /// What has happened; what was delivered is not lost.
    fn effects(&mut self) -> Vec<Effect> {
        let effects = self.bed.wires().take();
        for effect in &effects {
            if let Effect::Delivered(sender, cpu) = *effect {
                self.run.delivered.push(Delivered { sender, cpu });
                self.run.lost.retain(|sent| sent.sender != sender);
            }
        }
        effects
    }
}
