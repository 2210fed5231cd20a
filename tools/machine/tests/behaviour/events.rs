//! Event channels as both sides' real code handles them: order, edges, masks.

use carillon_machine::DomainKind;
use carillon_machine::EoiMode;
use carillon_machine::EventAbi;
use carillon_machine::EventDomain;
use carillon_machine::ExitCause;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
use carillon_machine::GuestMask;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::VcpuLoad;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy as _;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::proptest;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;

const HANDLER: u64 = 20 * MICROSECOND;

/// A guest's vCPU on CPU 1 with a software event for each priority.
fn host(kind: DomainKind, event_abi: EventAbi, load: VcpuLoad, priorities: &[u8]) -> MachineConfig {
    let mut guest = domain(1, kind, load, &[1]);
    guest.event_abi = event_abi;
    let software = |(id, priority): (u32, &u8)| SourceConfig {
        vector: None,
        path: Path::EventChannel {
            to: to(1, 0),
            handler: Span(HANDLER),
            priority: FifoPriority::new(*priority).unwrap(),
        },
        ..event(id, SourceKind::EdgeMaskable, 0x48, 0, to(1, 0), HANDLER)
    };
    let sources = (40..).zip(priorities).map(software).collect();
    MachineConfig { domains: vec![guest], sources, ..empty(2) }
}

fn counts(run: &Run) -> EventDomain {
    run.machine.event_domains().next().unwrap()
}

/// In which order handlers ran.
fn order(run: &Run) -> Vec<u32> {
    let entered = |fact: &Fact| match fact {
        Fact::HandlerEntered { source, .. } => Some(source.0),
        _ => None,
    };
    run.driver.facts.iter().filter_map(|(_, fact)| entered(fact)).collect()
}

/// Three events come while the handler of a fourth runs: the least urgent first, the most urgent last.
fn order_of_three(abi: EventAbi, priorities: &[u8]) -> Vec<u32> {
    let mut run = Run::new(&host(DomainKind::Pv, abi, VcpuLoad::Busy, priorities));
    for (step, source) in [0, 1, 2, 3].into_iter().enumerate() {
        run.raise(MILLISECOND + step as u64 * 4 * MICROSECOND, source);
    }
    run.until(2 * MILLISECOND);
    order(&run)
}

#[test]
fn fifo_priorities_change_the_order_in_which_events_are_taken_and_bitmaps_know_none() {
    assert_eq!(order_of_three(EventAbi::TwoLevel, &[7, 7, 7, 7]), [0, 1, 2, 3]);
    assert_eq!(order_of_three(EventAbi::Fifo, &[7, 7, 7, 7]), [0, 1, 2, 3]);
    assert_eq!(order_of_three(EventAbi::Fifo, &[7, 15, 7, 0]), [0, 3, 2, 1]);
}

/// The vCPU is called for the first event; the others wait behind it without a call, and the next call comes with the
/// first event after the last one was taken.
#[test]
fn a_vcpu_is_called_exactly_once_for_each_time_its_first_event_comes() {
    for kind in [DomainKind::Pv, DomainKind::Hvm] {
        // In one queue and in several: each queue announces its own first event, and the vCPU is called for one of them.
        let cases =
            [(EventAbi::TwoLevel, [7; 8]), (EventAbi::Fifo, [7; 8]), (EventAbi::Fifo, [15, 7, 7, 3, 0, 9, 3, 1])];
        for (abi, priorities) in cases {
            let mut run = Run::new(&host(kind, abi, VcpuLoad::Busy, &priorities));
            run.until(MILLISECOND);
            for burst in 1..=3 {
                for source in 0..8 {
                    run.raise(burst * MILLISECOND, source);
                }
                run.until((burst + 1) * MILLISECOND - 1);
                let counts = counts(&run);
                assert_eq!((counts.kicks, counts.upcalls, counts.sent), (burst, burst, 8 * burst), "{kind:?}, {abi:?}");
                assert_eq!(run.count(|fact| matches!(fact, Fact::Exit { cause: ExitCause::Kick, .. })) as u64, burst);
            }
            assert_eq!(order(&run).len(), 24);
        }
    }
}

#[test]
fn an_event_behind_a_mask_calls_nobody_and_is_taken_once_when_the_mask_goes() {
    for kind in [DomainKind::Pv, DomainKind::Hvm] {
        for abi in [EventAbi::Fifo, EventAbi::TwoLevel] {
            let mut run = Run::new(&host(kind, abi, VcpuLoad::Idle, &[7, 7]));
            run.until(MILLISECOND);
            run.machine.set_guest_mask(Time(MILLISECOND), SourceIndex(0), GuestMask::Masked, &mut run.driver);
            for at in [2, 3] {
                run.raise(at * MILLISECOND, 0);
            }
            run.until(4 * MILLISECOND);
            assert_eq!((order(&run), counts(&run).kicks), (vec![], 0), "{kind:?}, {abi:?}");
            assert_eq!(run.count(|fact| matches!(fact, Fact::Coalesced { .. })), 1);
            run.machine.set_guest_mask(Time(4 * MILLISECOND), SourceIndex(0), GuestMask::Unmasked, &mut run.driver);
            run.until(5 * MILLISECOND);
            assert_eq!((order(&run), counts(&run).kicks), (vec![0], 1), "{kind:?}, {abi:?}");
        }
    }
}

/// The upcall costs its whole entry once, and what it takes on the way only the search.
#[test]
fn events_of_one_upcall_share_its_entry() {
    let mut config = host(DomainKind::Pv, EventAbi::Fifo, VcpuLoad::Busy, &[7, 7]);
    config.costs.set("upcall", Span(3_000)).unwrap();
    config.costs.set("next_event", Span(1_000)).unwrap();
    let mut run = Run::new(&config);
    run.raise(MILLISECOND, 0);
    run.raise(MILLISECOND, 1);
    run.until(2 * MILLISECOND);
    let entered = run.times(|fact| matches!(fact, Fact::HandlerEntered { .. }));
    assert_eq!(entered[1] - entered[0], HANDLER + 1_000);
}

proptest! {
    /// Every event that is raised is taken, or one with another, or still waits behind a mask; and once the masks are
    /// gone none waits.
    #[test]
    fn every_event_is_completed_or_one_with_another_or_waits_behind_its_mask(
        kind in prop_oneof![Just(DomainKind::Pv), Just(DomainKind::Hvm)],
        load in prop_oneof![Just(VcpuLoad::Idle), Just(VcpuLoad::Busy)],
        eoi in prop_oneof![Just(EoiMode::Early), Just(EoiMode::Late)],
        priorities in prop_oneof![vec(0u8..16, 4).prop_map(Some), Just(None)],
        steps in vec((1u64..60, 0u32..4, any::<u8>()), 1..120),
    ) {
        let (abi, priorities) = match priorities {
            Some(priorities) => (EventAbi::Fifo, priorities),
            None => (EventAbi::TwoLevel, vec![7; 4]),
        };
        let mut config = host(kind, abi, load, &priorities);
        config.domains[0].software_eoi = eoi;
        let mut run = Run::new(&config);
        let mut at = MILLISECOND;
        for (distance, source, what) in steps {
            at += distance * MICROSECOND;
            let mask = match what % 6 {
                0 => GuestMask::Masked,
                1 => GuestMask::Unmasked,
                _ => {
                    run.raise(at, source);
                    continue;
                }
            };
            run.until(at);
            run.machine.set_guest_mask(Time(at), SourceIndex(source), mask, &mut run.driver);
            run.machine.check().unwrap();
        }
        run.until(at + 100 * MILLISECOND);
        let waiting = |run: &Run, source: u32| {
            let count = |is: fn(&Fact) -> Option<SourceIndex>| run.count(|fact| is(fact) == Some(SourceIndex(source)));
            let raised = count(|fact| if let Fact::Raised { source } = fact { Some(*source) } else { None });
            let merged = count(|fact| if let Fact::Coalesced { source } = fact { Some(*source) } else { None });
            raised - merged - run.completed(source).len()
        };
        for source in 0..4 {
            assert!(waiting(&run, source) <= 1, "at most one waits behind a mask");
        }
        for source in 0..4 {
            let end = Time(at + 100 * MILLISECOND);
            run.machine.set_guest_mask(end, SourceIndex(source), GuestMask::Unmasked, &mut run.driver);
        }
        run.until(at + 200 * MILLISECOND);
        for source in 0..4 {
            assert_eq!(waiting(&run, source), 0, "source {source}");
        }
        let counts = counts(&run);
        assert_eq!(counts.sent, run.count(|fact| matches!(fact, Fact::Raised { .. })) as u64);
        assert_eq!(counts.coalesced, run.count(|fact| matches!(fact, Fact::Coalesced { .. })) as u64);
        assert!(counts.upcalls <= counts.kicks, "an upcall without a call");
    }
}
