//! The question of 2013: dom0's SAS controller at host vectors 0x58, 0x68, 0x78, 0x88 on four CPUs, and a guest with one
//! vCPU on CPU 1 whose NIC uses guest vector 0x80. Does the guest hold dom0 back?

use carillon_machine::BlockCause;
use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
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
use crate::support::engine_of;
use crate::support::event;
use crate::support::to;
use crate::support::vector;

const SAS: [u8; 4] = [0x58, 0x68, 0x78, 0x88];
const NIC: u32 = 4;
const GUEST_VECTOR: u8 = 0x80;

/// Dom0 with a vCPU and a SAS interrupt on each CPU, the guest's NIC by `path` with host vector `host_vector`.
fn host(vendor: Vendor, host_vector: Option<u8>, path: Path) -> MachineConfig {
    let mut sources: Vec<SourceConfig> = (0u32..)
        .zip(SAS)
        .map(|(cpu, host_vector)| {
            event(30 + cpu, SourceKind::EdgeMaskable, host_vector, cpu, to(0, cpu), 5 * MICROSECOND)
        })
        .collect();
    let kind = if host_vector.is_some() { SourceKind::EdgeMaskable } else { SourceKind::Posted };
    sources.push(SourceConfig { kind, vector: host_vector.map(vector), path, ..event(40, kind, 0x48, 1, to(1, 0), 0) });
    MachineConfig {
        vendor,
        domains: vec![
            domain(0, DomainKind::Pv, VcpuLoad::Idle, &[0, 1, 2, 3]),
            DomainConfig { engine: engine_of(vendor), ..domain(1, DomainKind::Hvm, VcpuLoad::Busy, &[1]) },
        ],
        sources,
        ..empty(4)
    }
}

fn remapped() -> Path {
    Path::Remapped { to: to(1, 0), guest_vector: vector(GUEST_VECTOR), handler: Span(5 * MICROSECOND) }
}

fn posted() -> Path {
    Path::Posted { to: to(1, 0), guest_vector: vector(GUEST_VECTOR), handler: Span(5 * MICROSECOND) }
}

fn event_path() -> Path {
    Path::EventChannel { to: to(1, 0), handler: Span(5 * MICROSECOND), priority: FifoPriority::DEFAULT }
}

fn blocked(run: &Run, cause: BlockCause) -> usize {
    run.count(|fact| matches!(fact, Fact::Blocked { cause: c, .. } if *c == cause))
}

/// Whatever carries it, the guest's vector 0x80 outranks nothing of dom0's: a SAS interrupt raised in the very middle of
/// the guest's handler is dispatched in the same instant.
#[test]
fn a_guest_in_the_handler_of_its_vector_80_does_not_delay_any_of_doms_host_vectors() {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        for (host_vector, path) in [(Some(0x48), remapped()), (None, posted()), (Some(0x48), event_path())] {
            let mut run = Run::new(&host(vendor, host_vector, path));
            run.until(MILLISECOND);
            run.raise(MILLISECOND, NIC);
            let mut at = MILLISECOND;
            while run.count(|fact| matches!(fact, Fact::HandlerEntered { source, .. } if source.0 == NIC)) == 0 {
                at += 100;
                run.until(at);
            }
            for source in 0..4 {
                run.raise(at, source);
                assert_eq!(run.dispatched(source), [at], "{vendor:?}, {path:?}, source {source}");
            }
            assert!(run.completed(NIC).is_empty(), "its handler was running all the time");
            run.until(100 * MILLISECOND);
            assert_eq!(run.completed(NIC).len(), 1);
            assert_eq!(run.count(|fact| matches!(fact, Fact::Blocked { .. })), 0, "{vendor:?}, {path:?}");
        }
    }
}

/// What counts is the NIC's *host* vector. At 0x48 it is below 0x68: dom0 is served first and waits for nobody.
#[test]
fn with_the_nic_at_host_vector_48_dom0_is_served_first_when_both_wait() {
    let mut run = Run::new(&host(Vendor::Intel, Some(0x48), remapped()));
    both_wait(&mut run);
    assert!(run.dispatched(1)[0] < run.dispatched(NIC)[0]);
    assert_eq!(run.count(|fact| matches!(fact, Fact::Blocked { .. })), 0);
}

/// At 0x98 it is above all four: the guest's is served first, for one host handler.
#[test]
fn with_the_nic_at_host_vector_98_the_guest_is_served_first_for_one_handler() {
    let mut run = Run::new(&host(Vendor::Intel, Some(0x98), remapped()));
    both_wait(&mut run);
    assert!(run.dispatched(NIC)[0] < run.dispatched(1)[0]);
    assert_eq!(blocked(&run, BlockCause::ServedFirst), 1);
    assert_eq!(blocked(&run, BlockCause::InService), 0);
    let began = run.times(|fact| matches!(fact, Fact::Blocked { .. }))[0];
    let ended = run.times(|fact| matches!(fact, Fact::Unblocked { .. }))[0];
    assert_eq!(began, run.dispatched(NIC)[0]);
    assert_eq!(ended, run.dispatched(1)[0]);
    assert!((1..10 * MICROSECOND).contains(&(ended - began)), "{} ns", ended - began);
}

/// Raises the NIC's and dom0's interrupt on CPU 1 while a handler of dom0's own keeps the CPU from taking either.
fn both_wait(run: &mut Run) {
    run.until(MILLISECOND);
    run.raise(MILLISECOND, 1);
    run.driver.facts.clear();
    run.raise(MILLISECOND + 100, 1);
    run.raise(MILLISECOND + 100, NIC);
    run.until(100 * MILLISECOND);
}

#[test]
fn a_dom0_interrupt_that_comes_during_the_guests_host_handler_waits_for_its_end_and_no_longer() {
    let mut run = Run::new(&host(Vendor::Intel, Some(0x48), remapped()));
    run.until(MILLISECOND);
    run.raise(MILLISECOND, NIC);
    run.raise(MILLISECOND + 200, 1);
    run.until(100 * MILLISECOND);
    assert_eq!(blocked(&run, BlockCause::HandlerRunning), 1);
    assert_eq!(run.times(|fact| matches!(fact, Fact::Blocked { .. })), [MILLISECOND + 200]);
    let done = run.times(|fact| matches!(fact, Fact::HostHandlerDone { source, .. } if source.0 == NIC));
    assert_eq!(run.times(|fact| matches!(fact, Fact::Unblocked { .. })), done);
    assert_eq!(run.dispatched(1), done);
}

/// The SAS *handler* is another matter: it runs in a vCPU, and the scheduler decides when, not a vector.
#[test]
fn dom0s_handler_waits_for_the_scheduler_behind_a_busy_guest() {
    let mut run = Run::new(&host(Vendor::Intel, Some(0x48), remapped()));
    run.until(MILLISECOND);
    let guest_runs = run.times(|fact| matches!(fact, Fact::VcpuRuns { vcpu, .. } if *vcpu == to(1, 0)))[0];
    run.until(20 * MILLISECOND);
    run.raise(20 * MILLISECOND, 1);
    run.until(40 * MILLISECOND);
    let waits = run
        .times(|fact| matches!(fact, Fact::VcpuWaits { vcpu, behind, .. } if (*vcpu, *behind) == (to(0, 1), to(1, 0))));
    assert_eq!(waits.len(), 1);
    let runs = run.times(|fact| matches!(fact, Fact::VcpuRuns { vcpu, .. } if *vcpu == to(0, 1)))[0];
    assert!(runs - waits[0] < 10 * MICROSECOND, "the rate limit was over since {} ns", guest_runs + MILLISECOND);
}
