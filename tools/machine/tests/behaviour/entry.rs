//! From a device's raise to the first instruction of the host's handler: the explicit costs on the way.

use carillon_machine::Cost;
use carillon_machine::Costs;
use carillon_machine::DomainKind;
use carillon_machine::Fact;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::SourceConfig;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use vector_allocator::Owner;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;

const LONG: Span = Span(50 * MICROSECOND);

/// Dom0 on CPU 1; on CPU 0 perhaps another domain that computes, two sources of dom0's, and one of the hypervisor's own
/// whose handler takes interrupts.
fn host(on_cpu_0: Option<DomainKind>) -> MachineConfig {
    let mut domains = vec![domain(0, DomainKind::Pv, VcpuLoad::Idle, &[1])];
    domains.extend(on_cpu_0.map(|kind| domain(1, kind, VcpuLoad::Busy, &[0])));
    MachineConfig {
        domains,
        sources: vec![
            event(30, SourceKind::EdgeMaskable, 0x58, 0, to(0, 0), MICROSECOND),
            event(31, SourceKind::EdgeMaskable, 0x48, 0, to(0, 0), MICROSECOND),
            SourceConfig {
                owner: Owner::System,
                path: Path::Hypervisor { handler: LONG, interruptible: true },
                ..event(8, SourceKind::EdgeMaskable, 0x31, 0, to(0, 0), 0)
            },
        ],
        ..empty(2)
    }
}

/// When each dispatch of a source was, and how long after it the handler's first instruction ran.
fn entries(run: &Run, source: u32) -> Vec<(u64, Span)> {
    run.driver
        .facts
        .iter()
        .filter_map(|(at, fact)| match *fact {
            Fact::Dispatched { source: s, entry, .. } if s.0 == source => Some((at.0, entry)),
            _ => None,
        })
        .collect()
}

fn cost(cost: Cost) -> Span {
    Costs::default().get(cost)
}

#[test]
fn the_way_to_the_handler_costs_what_the_cpu_has_to_leave_for_it() {
    let cases = [(None, Cost::IdleWake), (Some(DomainKind::Pv), Cost::PvTrap), (Some(DomainKind::Hvm), Cost::VmExit)];
    for (on_cpu_0, expected) in cases {
        let mut run = Run::new(&host(on_cpu_0));
        run.raise(MILLISECOND, 0);
        run.until(2 * MILLISECOND);
        assert_eq!(entries(&run, 0), [(MILLISECOND, cost(expected))], "{on_cpu_0:?}");
        let done = run.times(|fact| matches!(fact, Fact::HostHandlerDone { .. }));
        let handler = cost(expected).plus(cost(Cost::GuestBoundHandler));
        assert_eq!(done, [MILLISECOND + handler.0], "{on_cpu_0:?}: the handler begins after it");
    }
}

#[test]
fn in_the_hosts_own_code_the_way_is_an_interrupt_gate() {
    let mut run = Run::new(&host(None));
    run.raise(MILLISECOND, 2);
    run.raise(MILLISECOND + 10 * MICROSECOND, 0);
    run.until(2 * MILLISECOND);
    assert_eq!(entries(&run, 0), [(MILLISECOND + 10 * MICROSECOND, cost(Cost::HostEntry))]);
}

/// A CPU wakes once: what waited until the first handler's end finds it awake.
#[test]
fn an_idle_cpu_that_takes_two_interrupts_in_a_row_wakes_once() {
    let mut run = Run::new(&host(None));
    run.raise(MILLISECOND, 0);
    run.raise(MILLISECOND, 1);
    run.until(2 * MILLISECOND);
    let first_done = MILLISECOND + cost(Cost::IdleWake).plus(cost(Cost::GuestBoundHandler)).0;
    assert_eq!(entries(&run, 0), [(MILLISECOND, cost(Cost::IdleWake))]);
    assert_eq!(entries(&run, 1), [(first_done, cost(Cost::HostEntry))]);
}
