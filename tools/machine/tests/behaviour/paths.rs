//! What each path costs in exits, who wakes a sleeper, and the guards.

use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::ExitCause;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::SourceConfig;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use carillon_machine::Vendor;
use vector_allocator::Owner;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::engine_of;
use crate::support::event;
use crate::support::to;
use crate::support::vector;

/// A guest's vCPU on CPU 1 and its device, whose host interrupt, if it has one, goes to CPU `target`.
fn host(vendor: Vendor, kind: DomainKind, load: VcpuLoad, target: u32, path: Path) -> MachineConfig {
    let posted = matches!(path, Path::Posted { .. });
    let source_kind = if posted { SourceKind::Posted } else { SourceKind::EdgeMaskable };
    let device = SourceConfig {
        vector: (!posted).then(|| vector(0x48)),
        path,
        ..event(40, source_kind, 0x48, target, to(1, 0), 0)
    };
    let guest = DomainConfig { engine: engine_of(vendor), ..domain(1, kind, load, &[1]) };
    MachineConfig { vendor, domains: vec![guest], sources: vec![device], ..empty(2) }
}

fn remapped() -> Path {
    Path::Remapped { to: to(1, 0), guest_vector: vector(0x80), handler: Span(5 * MICROSECOND) }
}

fn posted() -> Path {
    Path::Posted { to: to(1, 0), guest_vector: vector(0x80), handler: Span(5 * MICROSECOND) }
}

fn event_path() -> Path {
    Path::EventChannel { to: to(1, 0), handler: Span(5 * MICROSECOND), priority: FifoPriority::DEFAULT }
}

/// The exits of one interrupt to a vCPU that runs, by cause.
fn exits(config: &MachineConfig) -> Vec<ExitCause> {
    let mut run = Run::new(config);
    run.until(MILLISECOND);
    run.driver.facts.clear();
    run.raise(MILLISECOND, 0);
    run.until(2 * MILLISECOND);
    assert_eq!(run.completed(0).len(), 1);
    run.driver
        .facts
        .iter()
        .filter_map(|(_, fact)| match fact {
            Fact::Exit { cause, .. } => Some(*cause),
            _ => None,
        })
        .collect()
}

#[test]
fn a_running_vcpu_pays_no_exit_for_a_posted_interrupt_and_one_for_any_other() {
    let busy = VcpuLoad::Busy;
    for vendor in [Vendor::Intel, Vendor::Amd] {
        let exits = |kind, target, path| exits(&host(vendor, kind, busy, target, path));
        assert_eq!(exits(DomainKind::Hvm, 1, posted()), [], "{vendor:?}");
        assert_eq!(exits(DomainKind::Hvm, 1, remapped()), [ExitCause::ExternalInterrupt], "{vendor:?}");
        assert_eq!(exits(DomainKind::Hvm, 0, remapped()), [], "{vendor:?}: taken on an idle CPU, told without an exit");
        assert_eq!(exits(DomainKind::Hvm, 1, event_path()), [ExitCause::ExternalInterrupt], "{vendor:?}");
        assert_eq!(exits(DomainKind::Hvm, 0, event_path()), [ExitCause::Kick], "{vendor:?}");
        assert_eq!(exits(DomainKind::Pv, 0, event_path()), [ExitCause::Kick], "{vendor:?}");
    }
}

#[test]
fn a_sleeping_vcpu_is_woken_on_every_path() {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        for path in [posted(), remapped(), event_path()] {
            for target in [0, 1] {
                let mut run = Run::new(&host(vendor, DomainKind::Hvm, VcpuLoad::Idle, target, path));
                run.raise(MILLISECOND, 0);
                run.until(2 * MILLISECOND);
                assert_eq!(run.completed(0).len(), 1, "{vendor:?}, {path:?}, target {target}");
                let runs = run.count(|fact| matches!(fact, Fact::VcpuRuns { .. }));
                let stops = run.count(|fact| matches!(fact, Fact::VcpuStops { .. }));
                assert_eq!((runs, stops), (1, 1));
            }
        }
    }
}

/// A software event has no host vector: nothing is dispatched, and the vCPU is kicked.
#[test]
fn an_event_of_another_domain_reaches_its_vcpu_without_a_host_vector() {
    let mut config = host(Vendor::Intel, DomainKind::Pv, VcpuLoad::Busy, 0, event_path());
    config.sources[0].vector = None;
    assert_eq!(exits(&config), [ExitCause::Kick]);
}

#[test]
fn what_is_raised_while_it_waits_is_merged_and_completes_once() {
    for path in [posted(), remapped(), event_path()] {
        let mut run = Run::new(&host(Vendor::Intel, DomainKind::Hvm, VcpuLoad::Busy, 1, path));
        run.until(MILLISECOND);
        for _ in 0..5 {
            run.raise(MILLISECOND, 0);
        }
        run.until(2 * MILLISECOND);
        let merged = run.count(|fact| matches!(fact, Fact::Coalesced { .. }));
        assert_eq!(merged + run.completed(0).len(), 5, "{path:?}");
        assert!(merged >= 3, "{path:?}: {merged} merged");
    }
}

/// The vector waits behind another handler of the guest's when it is posted again: on the guest's own CPU the two meet at
/// the next entry, from another CPU at the processing of the notification.
#[test]
fn a_vector_that_is_posted_while_it_waits_in_the_virtual_apic_is_merged() {
    for target in [0, 1] {
        let mut config = host(Vendor::Intel, DomainKind::Hvm, VcpuLoad::Busy, target, remapped());
        config.sources.push(SourceConfig {
            path: Path::Remapped { to: to(1, 0), guest_vector: vector(0x90), handler: Span(500 * MICROSECOND) },
            ..event(41, SourceKind::EdgeMaskable, 0x58, 0, to(1, 0), 0)
        });
        let mut run = Run::new(&config);
        run.raise(MILLISECOND, 1);
        run.raise(MILLISECOND + 50 * MICROSECOND, 0);
        run.raise(MILLISECOND + 100 * MICROSECOND, 0);
        run.until(MILLISECOND + 150 * MICROSECOND);
        assert_eq!(run.count(|fact| matches!(fact, Fact::Coalesced { source } if source.0 == 0)), 1, "target {target}");
        run.until(3 * MILLISECOND);
        assert_eq!((run.completed(0).len(), run.completed(1).len()), (1, 1));
    }
}

/// Xen's own handlers run with interrupts on: a higher class nests on them, the same class waits.
#[test]
fn a_higher_class_nests_on_an_interruptible_handler_of_the_hypervisor() {
    let internal = |interruptible| {
        let mut config = host(Vendor::Intel, DomainKind::Pv, VcpuLoad::Idle, 0, event_path());
        config.sources.push(SourceConfig {
            owner: Owner::System,
            path: Path::Hypervisor { handler: Span(50 * MICROSECOND), interruptible },
            ..event(8, SourceKind::EdgeMaskable, 0x41, 0, to(1, 0), 0)
        });
        config.sources.push(event(41, SourceKind::EdgeMaskable, 0x58, 0, to(1, 0), MICROSECOND));
        let mut run = Run::new(&config);
        run.raise(MILLISECOND, 1);
        run.raise(MILLISECOND + 10 * MICROSECOND, 0);
        run.raise(MILLISECOND + 10 * MICROSECOND, 2);
        run.until(2 * MILLISECOND);
        let done = run.times(|fact| matches!(fact, Fact::HostHandlerDone { source, .. } if source.0 == 1))[0];
        (run.dispatched(2)[0], run.dispatched(0)[0], done)
    };
    let (higher, same_class, done) = internal(true);
    assert_eq!(higher, MILLISECOND + 10 * MICROSECOND);
    assert_eq!(same_class, done);
    let (higher, _, done) = internal(false);
    assert_eq!(higher, done);
}
