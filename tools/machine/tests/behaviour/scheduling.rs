//! vCPUs on CPUs: the rate limit, slices, idle CPUs, and work that wanders.

use carillon_machine::DomainKind;
use carillon_machine::Fact;
use carillon_machine::MachineConfig;
use carillon_machine::Scheduler;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use carillon_machine::VcpuRef;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::cpus;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;

fn credit2(ratelimit: u64) -> Scheduler {
    Scheduler::Credit2 { ratelimit: Span(ratelimit), slice: Span(10 * MILLISECOND) }
}

/// Dom0 idle and a busy guest, both on CPU 0 alone; dom0's interrupt goes to CPU 1.
fn shared(scheduler: Scheduler) -> MachineConfig {
    MachineConfig {
        scheduler,
        domains: vec![
            domain(0, DomainKind::Pv, VcpuLoad::Idle, &[0]),
            domain(1, DomainKind::Hvm, VcpuLoad::Busy, &[0]),
        ],
        sources: vec![event(30, SourceKind::EdgeMaskable, 0x58, 1, to(0, 0), 5 * MICROSECOND)],
        ..empty(2)
    }
}

fn runs(run: &Run, vcpu: VcpuRef) -> Vec<(u64, u32)> {
    run.driver
        .facts
        .iter()
        .filter_map(|(at, fact)| match fact {
            Fact::VcpuRuns { vcpu: v, cpu } if *v == vcpu => Some((at.0, cpu.0)),
            _ => None,
        })
        .collect()
}

/// The time from dom0's interrupt, raised just after the guest got the CPU, to dom0's run.
fn wait_for_guest(scheduler: Scheduler) -> u64 {
    let mut run = Run::new(&shared(scheduler));
    run.until(100 * MICROSECOND);
    let guest_runs = runs(&run, to(1, 0))[0].0;
    run.raise(100 * MICROSECOND, 0);
    run.until(50 * MILLISECOND);
    runs(&run, to(0, 0))[0].0 - guest_runs
}

#[test]
fn credit2_lets_a_woken_vcpu_wait_for_the_rate_limit_and_no_longer() {
    let switch = 5 * MICROSECOND;
    for ratelimit in [200 * MICROSECOND, MILLISECOND, 5 * MILLISECOND] {
        let waited = wait_for_guest(credit2(ratelimit));
        assert!((ratelimit..ratelimit + switch).contains(&waited), "{waited} ns under a limit of {ratelimit} ns");
    }
    assert!(wait_for_guest(credit2(0)) < 110 * MICROSECOND);
}

#[test]
fn pinned_vcpus_have_no_rate_limit() {
    assert!(wait_for_guest(Scheduler::Pinned { slice: Span(10 * MILLISECOND) }) < 110 * MICROSECOND);
}

#[test]
fn a_woken_vcpu_takes_an_idle_cpu_of_its_affinity_rather_than_wait() {
    let mut config = shared(credit2(MILLISECOND));
    config.domains[0].vcpus[0].affinity = cpus(&[0, 1]);
    let mut run = Run::new(&config);
    run.raise(100 * MICROSECOND, 0);
    run.until(MILLISECOND);
    let (at, cpu) = runs(&run, to(0, 0))[0];
    assert_eq!(cpu, 1);
    assert!(at < 110 * MICROSECOND, "{at}");
    assert_eq!(run.count(|fact| matches!(fact, Fact::VcpuWaits { .. })), 0);
}

#[test]
fn busy_vcpus_take_turns_and_share_a_cpu_evenly() {
    for scheduler in [credit2(MILLISECOND), Scheduler::Pinned { slice: Span(2 * MILLISECOND) }] {
        let config = MachineConfig {
            scheduler,
            domains: vec![
                domain(0, DomainKind::Pv, VcpuLoad::Busy, &[0]),
                domain(1, DomainKind::Hvm, VcpuLoad::Busy, &[0]),
            ],
            ..empty(1)
        };
        let mut run = Run::new(&config);
        run.until(1_000 * MILLISECOND);
        let mut used = [0u64; 2];
        let mut since = 0;
        for (at, fact) in &run.driver.facts {
            match fact {
                Fact::VcpuRuns { .. } => since = at.0,
                Fact::VcpuStops { vcpu, .. } => used[usize::from(vcpu.domain.0)] += at.0 - since,
                _ => {}
            }
        }
        let (a, b) = (used[0] as f64, used[1] as f64);
        assert!(a > 0.4e9 && b > 0.4e9 && (a / b - 1.0).abs() < 0.05, "{scheduler:?}: {a} and {b} ns");
    }
}

#[test]
fn a_freed_cpu_takes_over_what_waits_for_its_neighbour() {
    let mut config = shared(credit2(MILLISECOND));
    let another = config.domains[1].vcpus[0].clone();
    config.domains[1].vcpus.push(another);
    config.domains[1].vcpus[1].affinity = cpus(&[0, 1]);
    config.domains.push(domain(
        2,
        DomainKind::Pv,
        VcpuLoad::Periodic { run: Span(3 * MILLISECOND), sleep: Span(500 * MILLISECOND) },
        &[1],
    ));
    let mut run = Run::new(&config);
    run.until(100 * MILLISECOND);
    let wandered = runs(&run, to(1, 1)).iter().any(|(_, cpu)| *cpu == 1);
    assert!(wandered, "{:?}", runs(&run, to(1, 1)));
}

#[test]
fn under_null_every_vcpu_keeps_its_cpu() {
    let config = MachineConfig {
        scheduler: Scheduler::Null,
        domains: vec![
            domain(0, DomainKind::Pv, VcpuLoad::Idle, &[0]),
            domain(1, DomainKind::Hvm, VcpuLoad::Busy, &[1]),
        ],
        sources: vec![event(30, SourceKind::EdgeMaskable, 0x58, 1, to(0, 0), 5 * MICROSECOND)],
        ..empty(2)
    };
    let mut run = Run::new(&config);
    for i in 1..20 {
        run.raise(i * MILLISECOND, 0);
    }
    run.until(50 * MILLISECOND);
    assert!(runs(&run, to(0, 0)).iter().all(|(_, cpu)| *cpu == 0));
    assert_eq!(runs(&run, to(1, 0)).len(), 1);
    assert_eq!(run.completed(0).len(), 19);
}
