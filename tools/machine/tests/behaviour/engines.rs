//! The engines under one workload: the same interrupts are handled, and what differs is who is left for them.

use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::DoorbellRinger;
use carillon_machine::Engine;
use carillon_machine::ExitCause;
use carillon_machine::Fact;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::SourceConfig;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use carillon_machine::Vendor;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;
use crate::support::vector;

const AVIC: Engine = Engine::Avic(DoorbellRinger::Processor);
pub(crate) const ENGINES: [(Vendor, Engine); 7] = [
    (Vendor::Intel, Engine::Software),
    (Vendor::Intel, Engine::Apicv),
    (Vendor::Intel, Engine::Posted),
    (Vendor::Intel, Engine::IpiVirtualization),
    (Vendor::Amd, Engine::Software),
    (Vendor::Amd, AVIC),
    (Vendor::Amd, Engine::Avic(DoorbellRinger::Hypervisor)),
];

/// A guest with a vCPU on each of CPUs 1 and 2, and one source for the first that comes by `path`.
fn host(vendor: Vendor, engine: Engine, kind: SourceKind, loads: [VcpuLoad; 2], path: Path) -> MachineConfig {
    let mut guest = DomainConfig { engine, ..domain(1, DomainKind::Hvm, loads[0], &[1, 2]) };
    guest.vcpus[1].load = loads[1];
    let has_vector = matches!(path, Path::Remapped { .. });
    let vector = has_vector.then(|| vector(0x48));
    let source = SourceConfig { vector, path, ..event(40, kind, 0x48, 0, to(1, 0), 0) };
    MachineConfig { vendor, domains: vec![guest], sources: vec![source], ..empty(3) }
}

/// Why vCPUs exited for one interrupt, by vCPU.
fn exits(config: &MachineConfig) -> Vec<(u32, ExitCause)> {
    let mut run = Run::new(config);
    run.until(MILLISECOND);
    run.driver.facts.clear();
    run.raise(MILLISECOND, 0);
    run.until(2 * MILLISECOND);
    assert_eq!(run.completed(0).len(), 1, "{:?}", config.domains[0].engine);
    let exit = |fact: &Fact| match fact {
        Fact::Exit { vcpu, cause, .. } => Some((vcpu.vcpu, *cause)),
        _ => None,
    };
    run.driver.facts.iter().filter_map(|(_, fact)| exit(fact)).collect()
}

const BUSY: [VcpuLoad; 2] = [VcpuLoad::Busy; 2];

fn remapped() -> Path {
    Path::Remapped { to: to(1, 0), guest_vector: vector(0x80), handler: Span(5 * MICROSECOND) }
}

fn ipi() -> Path {
    Path::Ipi { from: to(1, 1), to: to(1, 0), guest_vector: vector(0x80), handler: Span(5 * MICROSECOND) }
}

/// The host takes the interrupt on an idle CPU, so that every exit is the engine's.
#[test]
fn an_engine_decides_whether_an_interrupt_takes_an_exit_to_come_and_one_to_end() {
    for (vendor, engine) in ENGINES {
        let expected: &[(u32, ExitCause)] = match engine {
            Engine::Software => &[(0, ExitCause::Kick), (0, ExitCause::ApicAccess)],
            Engine::Apicv => &[(0, ExitCause::Kick)],
            Engine::Posted | Engine::IpiVirtualization | Engine::Avic(_) => &[],
        };
        assert_eq!(exits(&host(vendor, engine, SourceKind::EdgeMaskable, BUSY, remapped())), expected, "{engine}");
    }
}

#[test]
fn the_end_of_a_level_triggered_interrupt_is_seen_under_every_engine() {
    for (vendor, engine) in ENGINES {
        let exits = exits(&host(vendor, engine, SourceKind::Level, BUSY, remapped()));
        let expected = match engine {
            Engine::Software => ExitCause::ApicAccess,
            Engine::Apicv | Engine::Posted | Engine::IpiVirtualization => ExitCause::Eoi,
            Engine::Avic(_) => ExitCause::NoAcceleration,
        };
        assert_eq!(exits.last(), Some(&(0, expected)), "{engine}: {exits:?}");
    }
}

#[test]
fn a_command_to_another_vcpu_exits_unless_the_processor_sends_it() {
    for (vendor, engine) in ENGINES {
        let edge = SourceKind::EdgeMaskable;
        let sent = |load| exits(&host(vendor, engine, edge, [load, VcpuLoad::Busy], ipi()));
        let senders =
            |exits: Vec<(u32, ExitCause)>| exits.into_iter().filter(|(vcpu, _)| *vcpu == 1).collect::<Vec<_>>();
        let to_a_running_one = senders(sent(VcpuLoad::Busy));
        let to_a_sleeping_one = senders(sent(VcpuLoad::Idle));
        let (running, sleeping): (Option<ExitCause>, Option<ExitCause>) = match engine {
            Engine::Software | Engine::Apicv | Engine::Posted => {
                (Some(ExitCause::ApicAccess), Some(ExitCause::ApicAccess))
            }
            Engine::IpiVirtualization => (None, None),
            Engine::Avic(DoorbellRinger::Processor) => (None, Some(ExitCause::IncompleteIpi)),
            // The table says of nobody that he runs, lest the processor believe it for too long.
            Engine::Avic(DoorbellRinger::Hypervisor) => {
                (Some(ExitCause::IncompleteIpi), Some(ExitCause::IncompleteIpi))
            }
        };
        let expected = |cause: Option<ExitCause>| cause.map(|cause| (1, cause)).into_iter().collect::<Vec<_>>();
        assert_eq!(to_a_running_one, expected(running), "{engine}, to one that runs");
        assert_eq!(to_a_sleeping_one, expected(sleeping), "{engine}, to one that sleeps");
    }
}

/// Two vectors, the second of a lower class and raised while the first is handled: emulated, the second needs a window.
#[test]
fn an_injected_interrupt_that_finds_interrupts_off_waits_for_a_window() {
    for (vendor, engine) in ENGINES {
        let mut config = host(vendor, engine, SourceKind::EdgeMaskable, BUSY, remapped());
        config.sources.push(SourceConfig {
            path: Path::Remapped { to: to(1, 0), guest_vector: vector(0x50), handler: Span(MICROSECOND) },
            ..event(41, SourceKind::EdgeMaskable, 0x58, 0, to(1, 0), 0)
        });
        let mut run = Run::new(&config);
        run.raise(MILLISECOND, 0);
        run.raise(MILLISECOND + 5 * MICROSECOND, 1);
        run.until(2 * MILLISECOND);
        assert_eq!((run.completed(0).len(), run.completed(1).len()), (1, 1), "{engine}");
        let windows = run.count(|fact| matches!(fact, Fact::Exit { cause: ExitCause::InterruptWindow, .. }));
        assert_eq!(windows, usize::from(engine == Engine::Software), "{engine}");
    }
}
