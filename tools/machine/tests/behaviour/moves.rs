//! Interrupts that move: after their vCPU, by a plan, and off a CPU that goes.

use carillon_machine::DomainKind;
use carillon_machine::Fact;
use carillon_machine::MachineConfig;
use carillon_machine::MoveError;
use carillon_machine::OfflineError;
use carillon_machine::Path;
use carillon_machine::Relocation;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::VcpuLoad;
use vector_allocator::CpuId;
use vector_allocator::DestinationModel;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::cpus;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;
use crate::support::vector;

/// The guest's vCPU starts on CPU 0, which another keeps busy; it may also run on CPU 1, and its interrupt goes to CPU 0.
fn wanderer(model: DestinationModel) -> MachineConfig {
    let mut config = MachineConfig {
        model,
        domains: vec![domain(0, DomainKind::Pv, VcpuLoad::Busy, &[0]), domain(1, DomainKind::Pv, VcpuLoad::Idle, &[0])],
        sources: vec![event(40, SourceKind::EdgeMaskable, 0x59, 0, to(1, 0), 5 * MICROSECOND)],
        ..empty(2)
    };
    config.domains[1].vcpus[0].affinity = cpus(&[0, 1]);
    config
}

fn moved(run: &Run) -> Vec<(u32, u8)> {
    run.driver
        .facts
        .iter()
        .filter_map(|(_, fact)| match fact {
            Fact::Moved { cpu, vector, .. } => Some((cpu.0, vector.number())),
            _ => None,
        })
        .collect()
}

/// As recorded on Xen: a pirq follows its vCPU only once the vCPU runs elsewhere and the interrupt fires again.
#[test]
fn an_interrupt_follows_its_vcpu_when_it_fires_and_not_before() {
    let mut run = Run::new(&wanderer(DestinationModel::FLAT));
    run.raise(MILLISECOND, 0);
    run.until(2 * MILLISECOND);
    assert_eq!(run.count(|fact| matches!(fact, Fact::VcpuRuns { vcpu, cpu } if *vcpu == to(1, 0) && cpu.0 == 1)), 1);
    assert_eq!(moved(&run), []);
    run.raise(2 * MILLISECOND, 0);
    run.until(3 * MILLISECOND);
    assert_eq!(moved(&run), [(1, 0x59)], "logical destinations: the vector stays");
    run.raise(4 * MILLISECOND, 0);
    run.until(5 * MILLISECOND);
    let last = run.driver.facts.iter().rev().find_map(|(_, fact)| match fact {
        Fact::Dispatched { cpu, .. } => Some(*cpu),
        _ => None,
    });
    assert_eq!(last, Some(CpuId(1)));
}

#[test]
fn with_physical_destinations_the_move_draws_another_vector_from_the_cursor() {
    let mut run = Run::new(&wanderer(DestinationModel::Physical));
    for at in 1..6 {
        run.raise(at * MILLISECOND, 0);
    }
    run.until(10 * MILLISECOND);
    let moved = moved(&run);
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].0, 1);
    assert_eq!(run.machine.placement(SourceIndex(0)), Some((CpuId(1), vector(moved[0].1))));
    assert_eq!(run.completed(0).len(), 5);
}

#[test]
fn posted_interrupts_do_not_move() {
    let mut config = wanderer(DestinationModel::Physical);
    config.domains[1].kind = DomainKind::Hvm;
    config.sources[0] = SourceConfig {
        kind: SourceKind::Posted,
        vector: None,
        path: Path::Posted { to: to(1, 0), guest_vector: vector(0x80), handler: Span(5 * MICROSECOND) },
        ..config.sources[0].clone()
    };
    let mut run = Run::new(&config);
    for at in 1..6 {
        run.raise(at * MILLISECOND, 0);
    }
    run.until(10 * MILLISECOND);
    assert_eq!(moved(&run), []);
    assert_eq!(run.completed(0).len(), 5);
}

fn apply(run: &mut Run, at: u64, cpu: u32, number: Option<u8>) -> Result<(), MoveError> {
    run.until(at);
    let relocation = Relocation { source: SourceIndex(0), cpu: CpuId(cpu), vector: number.map(vector) };
    let result = run.machine.apply_move(Time(at), relocation, &mut run.driver);
    run.machine.check().unwrap();
    result
}

#[test]
fn a_plan_moves_a_source_to_the_vector_it_names() {
    for model in [DestinationModel::FLAT, DestinationModel::Physical] {
        let mut run = Run::new(&wanderer(model));
        apply(&mut run, MILLISECOND, 1, Some(0x31)).unwrap();
        assert_eq!(run.machine.placement(SourceIndex(0)), Some((CpuId(1), vector(0x31))));
        run.raise(MILLISECOND, 0);
        run.until(2 * MILLISECOND);
        let at = run.driver.facts.iter().find_map(|(_, fact)| match fact {
            Fact::Dispatched { cpu, vector, .. } => Some((*cpu, *vector)),
            _ => None,
        });
        assert_eq!(at, Some((CpuId(1), vector(0x31))));
    }
}

/// The message that was under way when the source moved is still handled under the old vector.
#[test]
fn an_interrupt_that_waits_under_the_old_vector_is_not_lost() {
    let mut run = Run::new(&wanderer(DestinationModel::Physical));
    run.raise(MILLISECOND, 0);
    run.raise(MILLISECOND + 10, 0);
    apply(&mut run, MILLISECOND + 20, 1, Some(0x31)).unwrap();
    assert_eq!(apply(&mut run, MILLISECOND + 30, 0, Some(0x41)), Err(MoveError::Draining(vector(0x59))));
    run.raise(MILLISECOND + 40, 0);
    run.until(5 * MILLISECOND);
    assert_eq!(run.dispatched(0).len(), 3);
    apply(&mut run, 6 * MILLISECOND, 0, Some(0x59)).unwrap();
}

#[test]
fn moves_that_cannot_be_made_are_refused_and_change_nothing() {
    let mut config = wanderer(DestinationModel::Physical);
    config.sources.push(event(41, SourceKind::EdgeMaskable, 0x61, 1, to(1, 0), MICROSECOND));
    let mut run = Run::new(&config);
    assert_eq!(apply(&mut run, 0, 7, None), Err(MoveError::NoSuchCpu(CpuId(7))));
    assert!(matches!(apply(&mut run, 0, 1, Some(0x61)), Err(MoveError::NotToBeHad(_))));
    assert!(matches!(apply(&mut run, 0, 1, Some(0x80)), Err(MoveError::NotToBeHad(_))));
    let nobody = Relocation { source: SourceIndex(9), cpu: CpuId(0), vector: None };
    assert_eq!(run.machine.apply_move(Time(0), nobody, &mut run.driver), Err(MoveError::NoSuchSource(9)));
    assert_eq!(run.machine.placement(SourceIndex(0)), Some((CpuId(0), vector(0x59))));
    assert_eq!(moved(&run), []);
}

/// the softirq of a remapped interrupt has not run when its CPU goes; another CPU runs it.
#[test]
fn r36_a_remapped_interrupt_pending_on_a_dying_cpu_is_handed_to_another() {
    let mut config = wanderer(DestinationModel::Physical);
    config.domains[1] = domain(1, DomainKind::Hvm, VcpuLoad::Idle, &[0]);
    config.domains[1].vcpus[0].affinity = cpus(&[0, 1]);
    config.sources = [0x48, 0x49]
        .map(|number| SourceConfig {
            path: Path::Remapped { to: to(1, 0), guest_vector: vector(number), handler: Span(5 * MICROSECOND) },
            ..event(u32::from(number), SourceKind::EdgeMaskable, number, 1, to(1, 0), 0)
        })
        .to_vec();
    let mut run = Run::new(&config);
    run.raise(MILLISECOND, 0);
    run.raise(MILLISECOND + 100, 1);
    let mut at = MILLISECOND;
    while run.count(|fact| matches!(fact, Fact::HostHandlerDone { .. })) < 2 {
        at += 100;
        run.until(at);
    }
    assert_eq!(run.count(|fact| matches!(fact, Fact::HandlerEntered { .. })), 0, "both softirqs are still to come");
    run.machine.take_offline(Time(at), CpuId(1), &mut run.driver).unwrap();
    run.machine.check().unwrap();
    run.until(100 * MILLISECOND);
    assert_eq!((run.completed(0).len(), run.completed(1).len()), (1, 1));
    let (cpu, _) = run.machine.placement(SourceIndex(0)).unwrap();
    assert_eq!(cpu, CpuId(0));
    run.raise(100 * MILLISECOND, 0);
    run.until(200 * MILLISECOND);
    assert_eq!(run.completed(0).len(), 2);
}

#[test]
fn a_cpu_in_a_handler_stays_and_the_last_one_cannot_go() {
    let mut run = Run::new(&wanderer(DestinationModel::Physical));
    run.until(MILLISECOND);
    run.raise(MILLISECOND, 0);
    assert_eq!(
        run.machine.take_offline(Time(MILLISECOND), CpuId(0), &mut run.driver),
        Err(OfflineError::Busy(CpuId(0)))
    );
    run.until(50 * MILLISECOND);
    run.machine.take_offline(Time(50 * MILLISECOND), CpuId(0), &mut run.driver).unwrap();
    run.machine.check().unwrap();
    let refused = run.machine.take_offline(Time(50 * MILLISECOND), CpuId(1), &mut run.driver);
    assert!(matches!(refused, Err(OfflineError::Refused(_))));
    run.raise(60 * MILLISECOND, 0);
    run.until(100 * MILLISECOND);
    assert_eq!(run.completed(0).len(), 2);
}
