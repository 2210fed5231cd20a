//! The storm guard (`irq_ratelimit`): what it turns away, what it disables, and for how long.

use carillon_machine::Costs;
use carillon_machine::DomainKind;
use carillon_machine::Fact;
use carillon_machine::MachineConfig;
use carillon_machine::STORM_LIMIT;
use carillon_machine::STORM_PERIOD;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use vector_allocator::IoApicAck;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;

/// From one interrupt of a storm to the next: twice what the guard admits.
const EVERY: u64 = STORM_PERIOD.0 / STORM_LIMIT as u64 / 2;
/// When a storm that begins with the machine has been admitted to the limit.
const TRIP: u64 = STORM_LIMIT as u64 * EVERY;

/// A guest's vCPU on CPU 1, and a source of it on CPU 0 and one on CPU 2, which take no time worth mentioning.
fn host(kind: SourceKind) -> MachineConfig {
    let mut config = MachineConfig {
        ioapic_ack: IoApicAck::Old,
        domains: vec![domain(1, DomainKind::Pv, VcpuLoad::Idle, &[1])],
        sources: vec![event(40, kind, 0x48, 0, to(1, 0), MICROSECOND), event(41, kind, 0x58, 2, to(1, 0), MICROSECOND)],
        ..empty(3)
    };
    config.costs.set("guest_bound_handler", Span(100)).unwrap();
    config.costs.set("idle_wake", Span(0)).unwrap();
    config
}

/// The same with all so short that an interrupt is done when the next comes.
fn fast(kind: SourceKind) -> MachineConfig {
    let mut config = host(kind);
    for info in Costs::table() {
        config.costs.set(info.name, Span(1)).unwrap();
    }
    config.sources[0] = event(40, kind, 0x48, 0, to(1, 0), 1);
    config
}

/// Source 0 storms for `raises` interrupts from the machine's start.
fn storm(config: &MachineConfig, raises: u64) -> Run {
    let mut run = Run::new(config);
    (0..raises).for_each(|i| run.raise(i * EVERY, 0));
    run
}

fn turned_away(run: &Run, source: u32) -> Vec<u64> {
    run.times(|fact| matches!(fact, Fact::Throttled { source: s } if s.0 == source))
}

/// The 10001st interrupt of a quantum is turned away, and its source is off for 10 ms from that trip, not from the
/// quantum's start; then it sends what it kept behind its mask. The interrupt that tripped the guard is lost.
#[test]
fn a_storm_is_cut_off_for_ten_milliseconds_from_the_interrupt_that_trips_the_guard() {
    let raised = u64::from(STORM_LIMIT) * 3 / 2;
    let mut run = storm(&host(SourceKind::EdgeMaskable), raised);
    run.until(10 * STORM_PERIOD.0);
    assert_eq!(turned_away(&run, 0), [TRIP]);
    let (before, after): (Vec<u64>, Vec<u64>) = run.dispatched(0).into_iter().partition(|at| *at < TRIP);
    assert_eq!(before.len(), STORM_LIMIT as usize);
    assert_eq!(after, [TRIP + STORM_PERIOD.0]);
    let merged = run.count(|fact| matches!(fact, Fact::Coalesced { .. })) as u64;
    assert_eq!(merged + run.completed(0).len() as u64 + 1, raised, "one is lost, the rest completes or merges");
}

/// One timer serves all: a source that trips while another is off comes back with it.
#[test]
fn a_second_source_that_trips_comes_back_with_the_first() {
    let mut run = Run::new(&host(SourceKind::EdgeMaskable));
    let later = 2_000;
    for i in 0..u64::from(STORM_LIMIT) * 3 / 2 {
        run.raise(i * EVERY, 0);
        if i >= later {
            run.raise(i * EVERY, 1);
        }
    }
    run.until(10 * STORM_PERIOD.0);
    assert_eq!(turned_away(&run, 0), [TRIP]);
    assert_eq!(turned_away(&run, 1), [TRIP + later * EVERY]);
    for source in [0, 1] {
        assert_eq!(run.dispatched(source).last(), Some(&(TRIP + STORM_PERIOD.0)), "source {source}");
    }
}

/// A trip while others are off sets no timer of its own: it would let back in who trips anew before it goes off.
#[test]
fn a_source_that_trips_again_is_off_for_its_whole_ten_milliseconds() {
    let mut run = Run::new(&fast(SourceKind::EdgeMaskable));
    let every = 100;
    let burst = |run: &mut Run, source, from: u64| {
        (0..=u64::from(STORM_LIMIT) + 10).for_each(|i| run.raise(from + i * every, source));
    };
    burst(&mut run, 0, 0);
    burst(&mut run, 1, 7 * MILLISECOND);
    let (back, again) = (11 * MILLISECOND, 11 * MILLISECOND + MICROSECOND);
    assert_eq!(turned_away(&run, 0), [MILLISECOND]);
    assert_eq!(turned_away(&run, 1), [8 * MILLISECOND]);
    burst(&mut run, 0, again);
    run.until(100 * MILLISECOND);
    // The one kept behind the mask came first when it was back.
    let trip = again + u64::from(STORM_LIMIT) * every;
    assert_eq!(turned_away(&run, 0), [MILLISECOND, trip]);
    assert!(run.dispatched(0).contains(&back));
    assert_eq!(run.dispatched(0).last(), Some(&(trip + STORM_PERIOD.0)));
    assert!(run.dispatched(0).iter().all(|at| *at < trip || *at >= trip + STORM_PERIOD.0));
}

/// An MSI without a mask bit cannot be disabled: each of its interrupts is turned away and ended, until the quantum is
/// over, whatever the timer says.
#[test]
fn a_source_that_cannot_be_masked_is_turned_away_each_time_until_its_quantum_is_over() {
    let run = storm(&fast(SourceKind::EdgeUnmaskable), 2 * u64::from(STORM_LIMIT) + 100);
    let merged = run.count(|fact| matches!(fact, Fact::Coalesced { .. }));
    assert_eq!(merged, 0);
    let expected: Vec<u64> = (0..).map(|i| TRIP + i * EVERY).take_while(|at| *at < STORM_PERIOD.0).collect();
    assert_eq!(turned_away(&run, 0), expected);
    assert_eq!(run.dispatched(0).iter().find(|at| **at >= TRIP), Some(&STORM_PERIOD.0));
}

#[test]
fn a_line_that_is_turned_away_while_asserted_comes_again_and_is_not_lost() {
    let raised = u64::from(STORM_LIMIT) + 100;
    let mut run = storm(&fast(SourceKind::Level), raised);
    run.until(10 * STORM_PERIOD.0);
    assert_eq!(turned_away(&run, 0), [TRIP]);
    let merged = run.count(|fact| matches!(fact, Fact::Coalesced { .. })) as u64;
    assert_eq!(merged, 99, "it was asserted all the time that it was off");
    assert_eq!(run.completed(0).len() as u64 + merged, raised);
    let again = run.dispatched(0).into_iter().find(|at| *at > TRIP).unwrap();
    assert_eq!(again, TRIP + STORM_PERIOD.0);
}
