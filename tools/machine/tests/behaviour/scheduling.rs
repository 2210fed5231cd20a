//! vCPUs on CPUs: the rate limit, slices, idle CPUs, and work that wanders.

use carillon_machine::DomainKind;
use carillon_machine::Fact;
use carillon_machine::MachineConfig;
use carillon_machine::Scheduler;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use carillon_machine::VcpuRef;
use proptest::proptest;
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

/// How long dom0's vCPU waits for CPU 0 after its interrupt, raised when the guest has had the CPU for `after`.
fn wait_for_guest(scheduler: Scheduler, after: u64) -> u64 {
    let mut run = Run::new(&shared(scheduler));
    run.until(50 * MICROSECOND);
    let raised = runs(&run, to(1, 0))[0].0 + after;
    run.raise(raised, 0);
    run.until(raised + 50 * MILLISECOND);
    runs(&run, to(0, 0))[0].0 - raised
}

/// More than all that has to happen between an interrupt and its vCPU's run on a CPU that looks at once.
const SWITCH: u64 = 6 * MICROSECOND;

#[test]
fn credit2_lets_one_that_wakes_early_in_a_guests_run_wait_for_the_guests_timer() {
    for ratelimit in [200 * MICROSECOND, MILLISECOND, 5 * MILLISECOND] {
        let after = 100 * MICROSECOND;
        let waited = wait_for_guest(credit2(ratelimit), after) + after;
        let timer = 10 * MILLISECOND;
        assert!((timer..timer + SWITCH).contains(&waited), "{waited} ns under a limit of {ratelimit} ns");
    }
    assert!(wait_for_guest(credit2(0), 100 * MICROSECOND) < SWITCH, "without a rate limit it runs at once");
}

proptest! {
    /// Whenever dom0 wakes, it waits for the rest of the guest's timer at most, for 500 µs in the last 50 µs of the rate
    /// limit, and afterwards for nothing but the switch.
    #[test]
    fn credit2_bounds_the_wait_by_when_in_the_guests_run_dom0_wakes(
        after in 50 * MICROSECOND..30 * MILLISECOND,
        ratelimit in 0u64..5_000,
    ) {
        let ratelimit = ratelimit * MICROSECOND;
        let (tolerance, least, timer) = (50 * MICROSECOND, 500 * MICROSECOND, 10 * MILLISECOND);
        let bound = if ratelimit <= tolerance || after >= ratelimit {
            0
        } else if after >= ratelimit - tolerance {
            least
        } else {
            timer - after
        };
        let waited = wait_for_guest(credit2(ratelimit), after);
        assert!(waited <= bound + SWITCH, "{waited} ns, {after} ns into the guest's run, limit {ratelimit} ns");
    }

    /// A guest that only handles interrupts gives the CPU back by itself: the wait is bounded by its own run.
    #[test]
    fn credit2_does_not_hold_a_woken_vcpu_longer_than_the_guest_runs(after in 10u64..290) {
        let mut config = shared(credit2(MILLISECOND));
        let (run, sleep) = (Span(300 * MICROSECOND), Span(700 * MICROSECOND));
        config.domains[1].vcpus[0].load = VcpuLoad::Periodic { run, sleep };
        let mut run = Run::new(&config);
        run.until(20 * MICROSECOND);
        let raised = runs(&run, to(1, 0))[0].0 + after * MICROSECOND;
        run.raise(raised, 0);
        run.until(raised + 20 * MILLISECOND);
        let waited = runs(&run, to(0, 0))[0].0 - raised;
        assert!(waited <= 300 * MICROSECOND - after * MICROSECOND + SWITCH, "{waited} ns");
    }
}

#[test]
fn pinned_vcpus_have_no_rate_limit_and_no_slice_is_longer_than_it_may_be() {
    for slice in [MILLISECOND, 10 * MILLISECOND] {
        let scheduler = Scheduler::Pinned { slice: Span(slice) };
        assert!(wait_for_guest(scheduler, 100 * MICROSECOND) < SWITCH);
        let mut config = shared(scheduler);
        config.domains[0].vcpus[0].load = VcpuLoad::Busy;
        let mut run = Run::new(&config);
        run.until(200 * MILLISECOND);
        let mut starts: Vec<u64> =
            [to(0, 0), to(1, 0)].iter().flat_map(|vcpu| runs(&run, *vcpu)).map(|r| r.0).collect();
        starts.sort_unstable();
        assert!(starts.len() > 10);
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= slice + SWITCH), "{starts:?}");
    }
}

/// Under `null` nobody shares a CPU, so nobody waits for one: whenever dom0 is interrupted, it runs at once.
#[test]
fn under_null_a_woken_vcpu_waits_for_nobody() {
    let mut config = shared(Scheduler::Null);
    config.domains[1] = domain(1, DomainKind::Hvm, VcpuLoad::Busy, &[1]);
    let mut run = Run::new(&config);
    for i in 1..100u64 {
        run.raise(i * 137 * MICROSECOND, 0);
    }
    run.until(50 * MILLISECOND);
    let raised = run.times(|fact| matches!(fact, Fact::Raised { .. }));
    let starts = runs(&run, to(0, 0));
    assert_eq!(raised.len(), starts.len());
    assert!(raised.iter().zip(&starts).all(|(raised, (start, _))| start - raised < SWITCH), "{raised:?}, {starts:?}");
    assert_eq!(run.count(|fact| matches!(fact, Fact::VcpuWaits { .. })), 0);
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
