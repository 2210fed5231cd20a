//! A move from its first interrupt to its last.

use hypervisor_abi::VcpuId;
use hypervisor_lib::delivery::avic;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::event::DomainError;
use hypervisor_lib::event::EventError;
use hypervisor_lib::migration::Carried;
use hypervisor_lib::migration::Execution;
use hypervisor_lib::migration::Following;
use hypervisor_lib::migration::Planned;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Stopped;
use hypervisor_lib::migration::Vcpu;
use vector_allocator::AllocateError;
use vector_allocator::CpuId;
use vector_allocator::HostError;

use super::Arrivals;
use super::Fault;
use super::MOST_CPUS;
use super::MOST_INTERRUPTS;
use super::Moment;
use super::Moments;
use super::Move;
use super::MoveEngine;
use super::MoveRun;
use super::Way;
use super::avic::Amds;
use super::avic::AvicBed;
use super::avic::entry_of;
use super::bed::Bed;
use super::events::EventBed;
use super::events::EventHost;
use super::intel::Intel;
use super::journey::Journey;
use super::journey::failure_of;
use super::leased::GUEST;
use super::leased::Leased;
use super::moment::Schedule;
use super::posted::PostedBed;

/// Why a move cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum MoveFault {
    /// The two CPUs are one.
    #[error("the vCPU is on CPU {0} already")]
    SameCpu(CpuId),
    /// A CPU has too great a number.
    #[error("CPU {0}, where CPUs have numbers below {MOST_CPUS}")]
    Cpu(CpuId),
    /// Too many interrupts.
    #[error("{0} interrupts of the device, where at most {MOST_INTERRUPTS} are possible")]
    Interrupts(u16),
    /// The plan has no such step.
    #[error("step {number}, where the plan has steps 1 to {steps}")]
    NoStep {
        /// The number.
        number: usize,
        /// How many steps there are.
        steps: usize,
    },
    /// The plan has no such moment.
    #[error("moment {moment}, where the plan has moments 0 to {last}")]
    NoMoment {
        /// The moment.
        moment: usize,
        /// The last one.
        last: usize,
    },
    /// The step cannot fail: it writes nothing that could be refused.
    #[error("step {number} cannot fail, {step}: it writes nothing that could be refused")]
    CannotFail {
        /// Its number.
        number: usize,
        /// The step.
        step: Step,
    },
    /// The arbiter refuses the host.
    #[error("the host's vectors cannot be arbitrated")]
    Arbiter(#[from] HostError),
    /// There is no vector for the device.
    #[error("the device gets no vector")]
    Lease(#[from] AllocateError),
    /// The vCPU cannot be brought to its first CPU.
    #[error("the vCPU cannot be brought to its first CPU")]
    SetUp(#[source] StepError),
    /// AVIC's tables refuse the vCPU.
    #[error("AVIC's tables refuse the vCPU")]
    Table(#[from] avic::TableError),
    /// The guest cannot be.
    #[error("the guest cannot be created")]
    Domain(#[source] DomainError),
    /// The guest cannot have its ports.
    #[error("the guest cannot have its ports")]
    Event(#[source] EventError),
    /// The way back could not be gone.
    #[error("the way back failed")]
    NoWayBack(#[source] Box<Stopped>),
}

impl Move {
    /// Carries the move out.
    ///
    /// # Errors
    /// [`MoveFault`].
    pub fn run(&self, arrivals: &Arrivals, fault: Option<Fault>) -> Result<MoveRun, MoveFault> {
        if self.from == self.to {
            return Err(MoveFault::SameCpu(self.from));
        }
        if let Some(cpu) = [self.from, self.to].into_iter().find(|cpu| cpu.0 >= MOST_CPUS) {
            return Err(MoveFault::Cpu(cpu));
        }
        if self.interrupts > MOST_INTERRUPTS {
            return Err(MoveFault::Interrupts(self.interrupts));
        }
        let key = VcpuKey { domain: GUEST, vcpu: VcpuId(0) };
        let remapped = |leased: &Leased| leased.sources().iter().map(|source| Following::Remapped(*source)).collect();
        let (arrivals, unknown) = (&(arrivals, fault), MoveFault::SetUp(StepError::NotOurs));
        match self.engine {
            MoveEngine::Posted => {
                let host = Intel::new(self);
                let following: Vec<Following> = self.irqs().map(|irq| Following::Posted { irq }).collect();
                let bed = PostedBed::new(&host, self, key, None).ok_or(unknown)?;
                self.carry(bed, Vcpu { key, record: Record::Descriptor(Protocol::Xen) }, &following, arrivals)
            }
            MoveEngine::Remapped => {
                let host = Intel::new(self);
                let leased = Leased::new(self, &host)?;
                let following: Vec<Following> = remapped(&leased);
                let bed = PostedBed::new(&host, self, key, Some(leased)).ok_or(unknown)?;
                self.carry(bed, Vcpu { key, record: Record::Descriptor(Protocol::Xen) }, &following, arrivals)
            }
            MoveEngine::Avic => {
                let host = Amds::new(self);
                let irtes = self.irqs().map(|irq| entry_of(self, irq)).collect();
                let record = Record::PhysicalTable { mode: avic::Mode::XAvic, irtes };
                self.carry(AvicBed::new(&host, self)?, Vcpu { key, record }, &[], arrivals)
            }
            MoveEngine::EventChannel => {
                let host = EventHost::new(self)?;
                let bed = EventBed::new(&host, self)?;
                let following: Vec<Following> = remapped(bed.leased());
                self.carry(bed, Vcpu { key, record: Record::Note(Carried::EventWords) }, &following, arrivals)
            }
        }
    }

    fn carry<B: Bed>(
        &self,
        mut bed: B,
        vcpu: Vcpu,
        following: &[Following],
        (arrivals, fault): &(&Arrivals, Option<Fault>),
    ) -> Result<MoveRun, MoveFault> {
        let loaded = Residency::new(vcpu).load(self.from).run(&mut bed);
        let running = loaded.map_err(|interrupted| MoveFault::SetUp(interrupted.error))?;
        bed.enter(self.from);
        bed.wires().take();
        let plan = running.move_to(self.to, following);
        check(plan.steps(), arrivals, *fault)?;
        let run = MoveRun {
            plan: plan.steps().to_vec(),
            passages: Vec::new(),
            sent: 0,
            delivered: Vec::new(),
            lost: Vec::new(),
            cpu: self.from,
        };
        let mut journey = Journey { of: self, bed, schedule: Schedule::new(arrivals), fault: *fault, run };
        journey.interrupt(Moment::RunsThere(self.from), Way::There);
        match journey.go(Execution::new(plan), Way::There) {
            Ok(()) => {}
            Err((_, execution)) => {
                let back = Execution::new(execution.roll_back());
                journey.go(back, Way::Back).map_err(|(stopped, _)| MoveFault::NoWayBack(stopped))?;
            }
        }
        Ok(journey.run)
    }
}

/// What was asked for is possible with this plan.
fn check(plan: &[Planned], arrivals: &Arrivals, fault: Option<Fault>) -> Result<(), MoveFault> {
    let steps = plan.len();
    let last = steps + 2;
    if let Moments::At(moments) = &arrivals.moments
        && let Some(moment) = moments.iter().copied().find(|moment| *moment > last)
    {
        return Err(MoveFault::NoMoment { moment, last });
    }
    let Some(Fault::Fails(number) | Fault::LeftOut(number)) = fault else { return Ok(()) };
    let step = number.checked_sub(1).and_then(|index| plan.get(index)).map(|planned| planned.step);
    match (step, fault) {
        (None, _) => Err(MoveFault::NoStep { number, steps }),
        (Some(step), Some(Fault::Fails(_))) if failure_of(&step).is_none() => {
            Err(MoveFault::CannotFail { number, step })
        }
        _ => Ok(()),
    }
}
