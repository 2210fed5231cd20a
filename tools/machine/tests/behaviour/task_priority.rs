//! Guests that raise their task priority: what it holds back comes when it falls, and what a write of it takes.

use carillon_machine::ConfigError;
use carillon_machine::DeferredFault;
use carillon_machine::DeferredWork;
use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::Engine;
use carillon_machine::ExitCause;
use carillon_machine::Fact;
use carillon_machine::Machine;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::SourceConfig;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use carillon_machine::Vendor;
use vector_allocator::DomainId;
use vector_allocator::SourceKind;

use crate::engines::ENGINES;
use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;
use crate::support::vector;

const LASTS: u64 = 50 * MICROSECOND;
/// The sources, by the class of their guest vector.
const SAME_CLASS: u32 = 0;
const BELOW: u32 = 1;
const ABOVE: u32 = 2;

/// A guest on CPU 1 whose handlers leave work for later at class 8, and three devices whose interrupts the host takes on CPU 0:
/// of class 8, of the class below and of the one above.
fn host(vendor: Vendor, engine: Engine, load: VcpuLoad) -> MachineConfig {
    let deferred = Some(DeferredWork { class: 8, lasts: Span(LASTS) });
    let guest = DomainConfig { engine, deferred, ..domain(1, DomainKind::Hvm, load, &[1]) };
    let device = |(id, (host_vector, guest_vector))| SourceConfig {
        path: Path::Remapped { to: to(1, 0), guest_vector: vector(guest_vector), handler: Span(5 * MICROSECOND) },
        ..event(id, SourceKind::EdgeMaskable, host_vector, 0, to(1, 0), 0)
    };
    let sources = (40..).zip([(0x48, 0x80), (0x58, 0x7f), (0x68, 0x90)]).map(device).collect();
    MachineConfig { vendor, domains: vec![guest], sources, ..empty(2) }
}

fn entered(run: &Run, source: u32) -> Vec<u64> {
    run.times(|fact| matches!(fact, Fact::HandlerEntered { source: s, .. } if s.0 == source))
}

#[test]
fn a_raised_task_priority_holds_back_its_class_and_below_until_it_falls_under_every_engine() {
    for (vendor, engine) in ENGINES {
        for load in [VcpuLoad::Busy, VcpuLoad::Idle] {
            let mut run = Run::new(&host(vendor, engine, load));
            run.raise(MILLISECOND, SAME_CLASS);
            let meanwhile = MILLISECOND + 30 * MICROSECOND;
            for source in [SAME_CLASS, BELOW, ABOVE] {
                run.raise(meanwhile, source);
            }
            run.until(2 * MILLISECOND);
            let [first, second] = entered(&run, SAME_CLASS)[..] else { panic!("{engine}, {load:?}") };
            let ([below], [above]) = (&entered(&run, BELOW)[..], &entered(&run, ABOVE)[..]) else {
                panic!("{engine}, {load:?}")
            };
            assert!(first < meanwhile && *above < meanwhile + 20 * MICROSECOND, "{engine}: above is held back");
            // Two handlers have left work by then.
            let falls = first + 2 * LASTS + 10 * MICROSECOND;
            assert!((falls..falls + 20 * MICROSECOND).contains(&second), "{engine}: {second} of {falls}");
            // The second of its class raises it again, before the lower class can come.
            assert!(*below >= second + LASTS, "{engine}: {below} after {second}");
        }
    }
}

/// Three handlers end by an EOI; the task priority is raised and lowered once for those that meet and once for the last.
#[test]
fn a_write_of_the_task_priority_exits_where_local_apics_are_emulated_and_nowhere_else() {
    for (vendor, engine) in ENGINES {
        let mut run = Run::new(&host(vendor, engine, VcpuLoad::Busy));
        run.raise(MILLISECOND, SAME_CLASS);
        run.raise(MILLISECOND + 30 * MICROSECOND, ABOVE);
        run.until(2 * MILLISECOND);
        run.raise(2 * MILLISECOND, BELOW);
        run.until(3 * MILLISECOND);
        let accesses = run.count(|fact| matches!(fact, Fact::Exit { cause: ExitCause::ApicAccess, .. }));
        let (ends, writes) = (3, 2 + 2);
        let expected = if engine == Engine::Software { ends + writes } else { 0 };
        assert_eq!(accesses, expected, "{engine}");
    }
}

#[test]
fn work_is_deferred_only_where_a_task_priority_can_hold_something_back() {
    let refused = |change: fn(&mut DomainConfig)| {
        let mut config = MachineConfig { sources: Vec::new(), ..host(Vendor::Intel, Engine::Posted, VcpuLoad::Idle) };
        change(&mut config.domains[0]);
        match Machine::new(&config) {
            Err(ConfigError::Deferred { domain: DomainId(1), fault }) => Some(fault),
            _ => None,
        }
    };
    let lasts = Span(1);
    assert_eq!(refused(|guest| guest.kind = DomainKind::Pv), Some(DeferredFault::NoApic));
    for class in [0, 16] {
        let mut config = host(Vendor::Intel, Engine::Posted, VcpuLoad::Idle);
        config.domains[0].deferred = Some(DeferredWork { class, lasts });
        let fault = DeferredFault::Class(class);
        let expected = ConfigError::Deferred { domain: DomainId(1), fault };
        assert_eq!(Machine::new(&config).map(|_| ()), Err(expected));
    }
    let nothing = |guest: &mut DomainConfig| guest.deferred = Some(DeferredWork { class: 8, lasts: Span(0) });
    assert_eq!(refused(nothing), Some(DeferredFault::Nothing));
    assert_eq!(refused(|_| ()), None);
}
