//! The two event-channel ABIs beside each other: what differs is the order among events that wait together, and nothing
//! else.

use std::mem;

use carillon_machine::DomainKind;
use carillon_machine::EoiMode;
use carillon_machine::EventAbi;
use carillon_machine::EventDomain;
use carillon_machine::Fact;
use carillon_machine::FifoPriority;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::VcpuLoad;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prop_oneof;
use proptest::proptest;
use proptest::sample::subsequence;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;

/// Long enough for as many raises as there are ports.
const HANDLER: u64 = 200 * MICROSECOND;
/// More ports than a word of the bitmap has bits. Source *s* has port *s* + 1.
const PORTS: u32 = 150;

#[derive(Clone, Copy, Debug)]
struct Guest {
    kind: DomainKind,
    load: VcpuLoad,
    software_eoi: EoiMode,
}

fn guest() -> impl Strategy<Value = Guest> {
    let kind = prop_oneof![Just(DomainKind::Pv), Just(DomainKind::Hvm)];
    let load = prop_oneof![Just(VcpuLoad::Idle), Just(VcpuLoad::Busy)];
    let eoi = prop_oneof![Just(EoiMode::Early), Just(EoiMode::Late)];
    (kind, load, eoi).prop_map(|(kind, load, software_eoi)| Guest { kind, load, software_eoi })
}

/// A guest's vCPU on CPU 1, with edges, levels and software events by turns if there are devices, else with software events
/// alone.
fn host(guest: Guest, event_abi: EventAbi, devices: u32) -> MachineConfig {
    let Guest { kind, load, software_eoi } = guest;
    let mut config = domain(1, kind, load, &[1]);
    (config.event_abi, config.software_eoi) = (event_abi, software_eoi);
    let path = Path::EventChannel { to: to(1, 0), handler: Span(HANDLER), priority: FifoPriority::DEFAULT };
    let source = |number: u32| {
        let vector = 0x31 + u8::try_from(number % 0x40).unwrap();
        let device = |kind| event(number, kind, vector, 0, to(1, 0), HANDLER);
        match (number < devices, number % 3) {
            (true, 0) => device(SourceKind::EdgeMaskable),
            (true, 1) => device(SourceKind::Level),
            _ => SourceConfig { vector: None, path, ..device(SourceKind::EdgeMaskable) },
        }
    };
    MachineConfig { domains: vec![config], sources: (0..PORTS).map(source).collect(), ..empty(2) }
}

/// What happened, and what it came to.
#[derive(Debug, PartialEq)]
struct Course {
    facts: Vec<(Time, Fact)>,
    counts: Vec<EventDomain>,
}

fn course(guest: Guest, abi: EventAbi, devices: u32, raises: &[(u64, u32)]) -> Course {
    let mut run = Run::new(&host(guest, abi, devices));
    for (at, source) in raises {
        run.raise(*at, *source);
    }
    let end = raises.last().map_or(0, |(at, _)| *at) + 100 * MILLISECOND;
    run.until(end);
    // The name of the ABI is the one thing that must differ.
    let counts = run.machine.event_domains().map(|counts| EventDomain { abi: EventAbi::default(), ..counts });
    Course { facts: run.driver.facts, counts: counts.collect() }
}

impl Course {
    /// In which order handlers ran; from here on the facts no longer say whose.
    fn take_order(&mut self) -> Vec<u32> {
        let mut order = Vec::new();
        for (_, fact) in &mut self.facts {
            match fact {
                Fact::HandlerEntered { source, .. } => order.push(mem::replace(source, SourceIndex(0)).0),
                Fact::Completed { source } | Fact::EoiDelayed { source, .. } => *source = SourceIndex(0),
                _ => {}
            }
        }
        order
    }
}

proptest! {
    #[test]
    fn where_no_two_events_wait_together_both_abis_do_the_same_at_the_same_times(
        guest in guest(),
        steps in vec((300u64..2_000, 0..PORTS), 1..40),
    ) {
        let mut at = MILLISECOND;
        let raises: Vec<(u64, u32)> = steps.into_iter().map(|(distance, source)| {
            at += distance * MICROSECOND;
            (at, source)
        }).collect();
        let fifo = course(guest, EventAbi::Fifo, 60, &raises);
        let two_level = course(guest, EventAbi::TwoLevel, 60, &raises);
        assert_eq!(fifo, two_level);
        let handled = fifo.facts.iter().filter(|(_, fact)| matches!(fact, Fact::Completed { .. })).count();
        assert_eq!(handled, raises.len());
    }

    /// While the handler of one event runs, others come in any order.
    #[test]
    fn of_events_that_wait_together_fifo_takes_the_first_to_come_and_two_level_the_next_by_number(
        guest in guest(),
        first in 0..PORTS,
        others in subsequence((0..PORTS).collect::<Vec<u32>>(), 1..PORTS as usize).prop_shuffle(),
    ) {
        let others: Vec<u32> = others.into_iter().filter(|other| *other != first).collect();
        let after = |turn: usize| 2 * MILLISECOND + 30 * MICROSECOND + turn as u64 * MICROSECOND;
        let raises: Vec<(u64, u32)> = [(2 * MILLISECOND, first)].into_iter()
            .chain(others.iter().enumerate().map(|(turn, other)| (after(turn), *other)))
            .collect();
        let mut fifo = course(guest, EventAbi::Fifo, 0, &raises);
        let mut two_level = course(guest, EventAbi::TwoLevel, 0, &raises);
        let came: Vec<u32> = raises.iter().map(|(_, source)| *source).collect();
        assert_eq!(fifo.take_order(), came);
        let mut by_number = came;
        by_number.sort_by_key(|source| (source + PORTS - first) % PORTS);
        assert_eq!(two_level.take_order(), by_number);
        assert_eq!(fifo, two_level, "but for the order everything is the same, to the nanosecond");
    }
}
