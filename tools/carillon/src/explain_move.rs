//! `carillon explain move`: what is written, in which order and why, when a vCPU moves to another physical CPU.

use carillon_sim::moving::MoveEngine;
use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::migration::Carried;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::Following;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Plan;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Source;
use hypervisor_lib::migration::Stage;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Vcpu;
use serde::Serialize;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

use crate::cli::MoveArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::Format;
use crate::output::Output;
use crate::page::Page;
use crate::page::Tone;

/// The first IRQ of the example's device.
const FIRST_IRQ: u32 = 48;
/// Its bus, device and function: 03:00.0.
const DEVICE: u16 = 0x0300;
/// The guest.
const GUEST: DomainId = DomainId(1);

/// A plan, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    engine: &'static str,
    #[serde(skip)]
    long_name: &'static str,
    from: u32,
    to: u32,
    steps: Vec<ShownStep>,
    if_it_stops: Vec<ShownStop>,
}

#[derive(Debug, Serialize)]
struct ShownStep {
    number: usize,
    stage: String,
    step: String,
    reason: &'static str,
    source: &'static str,
}

/// What can be done where a step fails.
#[derive(Debug, Serialize)]
struct ShownStop {
    stage: String,
    standing: &'static str,
    remedy: &'static str,
}

impl Answer for Shown {
    fn show(&self, page: &mut Page) {
        page.title(&format!("A vCPU moves from CPU {} to CPU {}: {}", self.from, self.to, self.long_name));
        let mut stage = "";
        for step in &self.steps {
            if step.stage != stage {
                stage = &step.stage;
                page.heading(stage);
            }
            page.verbatim(Tone::Plain, &format!("{:>3}. {}", step.number, step.step));
            page.line(Tone::Faint, &format!("     {} [{}]", step.reason, step.source));
        }
        page.heading("if a step fails");
        for stop in &self.if_it_stops {
            page.line(Tone::Plain, &format!("  • {}: {}; {}", stop.stage, stop.standing, stop.remedy));
        }
    }
}

/// Explains the move the command line asks for.
pub(crate) fn run(args: &MoveArgs, format: Format, out: Output) -> Result<Verdict, Failure> {
    let (from, to) = (CpuId(args.from), CpuId(args.to));
    if from == to {
        return Err(Failure::new(format!("the vCPU is on CPU {from} already"))
            .hint("--from and --to name two CPUs, as in --from 0 --to 3"));
    }
    let plan = plan(args.engine, from, to, args.interrupts)?;
    out.print(&shown(args.engine, &plan), format)?;
    Ok(Verdict::Fine)
}

fn shown(engine: MoveEngine, plan: &Plan) -> Shown {
    let steps = (1..).zip(plan.steps()).map(|(number, planned)| ShownStep {
        number,
        stage: planned.stage.to_string(),
        step: planned.step.to_string(),
        reason: planned.step.reason(),
        source: planned.step.source(),
    });
    let mut stages: Vec<Stage> = plan.steps().iter().map(|planned| planned.stage).collect();
    stages.dedup();
    let stops = stages.into_iter().map(|stage| ShownStop {
        stage: stage.to_string(),
        standing: stage.standing(),
        remedy: stage.remedy(),
    });
    let (from, to) = plan.way();
    Shown {
        engine: engine.name(),
        long_name: engine.long_name(),
        from: from.0,
        to: to.0,
        steps: steps.collect(),
        if_it_stops: stops.collect(),
    }
}

/// The plan for a vCPU that runs, and a device that has so many interrupts for it.
fn plan(engine: MoveEngine, from: CpuId, to: CpuId, interrupts: u16) -> Result<Plan, Failure> {
    let irqs = (FIRST_IRQ..).take(usize::from(interrupts));
    let (record, following) = match engine {
        MoveEngine::Posted => {
            let posted = irqs.map(|irq| Following::Posted { irq });
            (Record::Descriptor(Protocol::Xen), posted.collect())
        }
        MoveEngine::Avic => {
            let irtes = (0..interrupts).map(|index| IrteIndex { device: DEVICE, index }).collect();
            (Record::PhysicalTable { mode: Mode::XAvic, irtes }, Vec::new())
        }
        MoveEngine::Remapped => (Record::Descriptor(Protocol::Xen), remapped(from, to, irqs)?),
        MoveEngine::EventChannel => (Record::Note(Carried::EventWords), remapped(from, to, irqs)?),
    };
    let key = VcpuKey { domain: GUEST, vcpu: VcpuId(0) };
    let running = Residency::new(Vcpu { key, record }).load(from).run(&mut OnPaper).map_err(Failure::new)?;
    Ok(running.move_to(to, &following))
}

/// Sources of the guest that have vectors on the CPU it runs on.
fn remapped(from: CpuId, to: CpuId, irqs: impl Iterator<Item = u32>) -> Result<Vec<Following>, Failure> {
    let cpus = from.0.max(to.0).saturating_add(1);
    let (layout, online) = (VectorLayout::xen(XenLayout::default()), CpuSet::single(from));
    let mut vectors =
        VectorAllocator::new(layout, DestinationModel::Physical, cpus, &online, Policy::BelowDom0, IoApicAck::New)
            .map_err(Failure::new)?;
    let mut lease = |irq| {
        let lease = vectors.allocate(Owner::Guest(GUEST), SourceKind::EdgeMaskable, &online);
        lease.map(|lease| Following::Remapped(Source { irq, lease })).map_err(Failure::new)
    };
    irqs.map(&mut lease).collect()
}

/// Takes every step for done: the vCPU of an explanation has no words.
struct OnPaper;

impl Carrier for OnPaper {
    fn carry_out(&mut self, _: &Step) -> Result<Outcome, StepError> {
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_lib::migration::Step;
    use vector_allocator::CpuId;

    use super::MoveEngine;
    use super::plan;
    use super::shown;

    #[test]
    fn a_plan_has_the_writes_of_its_engine_for_every_interrupt() {
        let count = |engine, is_meant: fn(&Step) -> bool| {
            let plan = plan(engine, CpuId(0), CpuId(3), 5).unwrap();
            plan.steps().iter().filter(|planned| is_meant(&planned.step)).count()
        };
        assert_eq!(count(MoveEngine::Posted, |step| matches!(step, Step::LeavePosted { .. })), 5);
        assert_eq!(count(MoveEngine::Posted, |step| matches!(step, Step::Reserve(..))), 0);
        assert_eq!(count(MoveEngine::Avic, |step| matches!(step, Step::SayInIrte(..))), 2 * 5);
        assert_eq!(count(MoveEngine::Avic, |step| matches!(step, Step::InvalidateIrtes)), 2);
        for engine in [MoveEngine::Remapped, MoveEngine::EventChannel] {
            assert_eq!(count(engine, |step| matches!(step, Step::Reserve(_, CpuId(3)))), 5);
            assert_eq!(count(engine, |step| matches!(step, Step::Release(_))), 5);
        }
        assert_eq!(count(MoveEngine::Remapped, |step| matches!(step, Step::Aim(CpuId(3)))), 1);
        assert_eq!(count(MoveEngine::EventChannel, |step| matches!(step, Step::AimKicks(CpuId(3)))), 1);
    }

    #[test]
    fn every_stage_of_a_plan_says_what_can_be_done_where_it_stops() {
        for engine in MoveEngine::ALL {
            let shown = shown(engine, &plan(engine, CpuId(7), CpuId(1), 1).unwrap());
            let mut stages: Vec<&str> = shown.steps.iter().map(|step| step.stage.as_str()).collect();
            stages.dedup();
            let stops: Vec<&str> = shown.if_it_stops.iter().map(|stop| stop.stage.as_str()).collect();
            assert_eq!(stops, stages, "{engine:?}");
            assert_eq!((shown.from, shown.to), (7, 1));
        }
    }
}
