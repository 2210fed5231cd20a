//! A guest that keeps the in-service bit, and what it does to dom0.

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;
use crate::support::vector;
use carillon_machine::BlockCause;
use carillon_machine::DomainKind;
use carillon_machine::ExitCause;
use carillon_machine::Fact;
use carillon_machine::GuestMask;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::RetentionEnd;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::VcpuLoad;
use vector_allocator::FORCED_EOI_NS;
use vector_allocator::SourceKind;

const NEVER: u64 = 3_600_000_000_000;

/// Three CPUs: dom0 on CPU 1, the guest on CPU 2, and the interrupts of both on CPU 0.
fn host(guest: SourceConfig) -> MachineConfig {
    MachineConfig {
        domains: vec![
            domain(0, DomainKind::Pv, VcpuLoad::Idle, &[1]),
            domain(1, DomainKind::Hvm, VcpuLoad::Idle, &[2]),
        ],
        sources: vec![
            guest,
            event(20, SourceKind::EdgeMaskable, 0xc8, 0, to(0, 0), 5 * MICROSECOND),
            event(21, SourceKind::EdgeMaskable, 0xd7, 0, to(0, 0), 5 * MICROSECOND),
            event(22, SourceKind::EdgeMaskable, 0xe0, 0, to(0, 0), 5 * MICROSECOND),
        ],
        ..empty(3)
    }
}

fn retention(run: &Run) -> (u64, u64, RetentionEnd) {
    let began = run.times(|fact| matches!(fact, Fact::RetentionBegan { .. }))[0];
    let (ended, by) = run
        .driver
        .facts
        .iter()
        .find_map(|(at, fact)| match fact {
            Fact::RetentionEnded { by, .. } => Some((at.0, *by)),
            _ => None,
        })
        .unwrap();
    (began, ended, by)
}

/// a guest never ends its INTx. The in-service bit stays for exactly 1 ms after the host's handler; dom0's vectors of
/// its class and below wait exactly until then, a higher class does not wait at all.
#[test]
fn r97_a_level_interrupt_that_is_never_ended_blocks_its_class_and_below_for_one_millisecond() {
    let mut run = Run::new(&host(event(23, SourceKind::Level, 0xd0, 0, to(1, 0), NEVER)));
    run.raise(10 * MICROSECOND, 0);
    run.raise(100 * MICROSECOND, 1);
    run.raise(100 * MICROSECOND, 2);
    run.raise(100 * MICROSECOND, 3);
    run.until(5 * MILLISECOND);

    let (began, ended, by) = retention(&run);
    assert_eq!(ended - began, FORCED_EOI_NS);
    assert_eq!(by, RetentionEnd::Forced);
    assert_eq!(run.dispatched(3), [100 * MICROSECOND], "class E outranks class D");
    let in_service = |victim: u32, open: bool| {
        run.times(|fact| match *fact {
            Fact::Blocked { victim: v, by, cause: BlockCause::InService, .. } => open && v.0 == victim && by.0 == 0,
            Fact::Unblocked { victim: v, by, cause: BlockCause::InService, .. } => !open && v.0 == victim && by.0 == 0,
            _ => false,
        })
    };
    for victim in [1, 2] {
        assert_eq!(in_service(victim, true)[0], 100 * MICROSECOND, "source {victim}");
        assert_eq!(in_service(victim, false)[0], ended, "source {victim}");
    }
    assert_eq!(run.dispatched(2), [ended], "D7 is the higher of the two that waited");
    assert!(run.dispatched(1)[0] > ended);
    assert!(in_service(3, true).is_empty());
    assert!(run.completed(0).is_empty());
}

/// The line of a device that nobody serves stays asserted: after the forced EOI it interrupts again, and again retains.
#[test]
fn a_line_that_stays_asserted_is_sent_again_after_the_forced_eoi() {
    let mut run = Run::new(&host(event(23, SourceKind::Level, 0xd0, 0, to(1, 0), NEVER)));
    run.raise(0, 0);
    run.until(5 * MILLISECOND);
    let again = run.dispatched(0);
    assert!((4..=5).contains(&again.len()), "{again:?}");
    assert!(again.windows(2).all(|pair| pair[1] - pair[0] > FORCED_EOI_NS));
    assert_eq!(run.count(|fact| matches!(fact, Fact::Coalesced { .. })), 0, "one raise is one interrupt");
}

#[test]
fn an_eoi_in_time_ends_the_retention_at_once_and_the_forced_one_does_not_come() {
    let mut run = Run::new(&host(event(23, SourceKind::Level, 0xd0, 0, to(1, 0), 50 * MICROSECOND)));
    run.raise(10 * MICROSECOND, 0);
    run.raise(30 * MICROSECOND, 1);
    run.until(5 * MILLISECOND);
    let (began, ended, by) = retention(&run);
    assert_eq!(by, RetentionEnd::Guest);
    assert!(ended - began < 100 * MICROSECOND, "{} ns", ended - began);
    assert_eq!(run.dispatched(1), [ended]);
    assert_eq!(run.dispatched(0).len(), 1);
    assert_eq!(run.count(|fact| matches!(fact, Fact::RetentionEnded { .. })), 1);
}

#[test]
fn an_msi_that_can_be_masked_retains_nothing() {
    let mut run = Run::new(&host(event(23, SourceKind::EdgeMaskable, 0xd0, 0, to(1, 0), NEVER)));
    run.raise(10 * MICROSECOND, 0);
    run.raise(100 * MICROSECOND, 1);
    run.until(5 * MILLISECOND);
    assert_eq!(run.dispatched(1), [100 * MICROSECOND]);
    assert_eq!(run.count(|fact| matches!(fact, Fact::RetentionBegan { .. } | Fact::Blocked { .. })), 0);
}

#[test]
fn the_old_way_to_acknowledge_masks_the_line_and_retains_nothing() {
    let config = MachineConfig {
        ioapic_ack: vector_allocator::IoApicAck::Old,
        ..host(event(23, SourceKind::Level, 0xd0, 0, to(1, 0), 50 * MICROSECOND))
    };
    let mut run = Run::new(&config);
    run.raise(10 * MICROSECOND, 0);
    run.raise(30 * MICROSECOND, 1);
    run.until(5 * MILLISECOND);
    assert_eq!(run.dispatched(1), [30 * MICROSECOND]);
    assert_eq!(run.dispatched(0).len(), 1);
    assert_eq!(run.completed(0).len(), 1);
    assert_eq!(run.count(|fact| matches!(fact, Fact::RetentionBegan { .. })), 0);
}

fn remapped_intx(handler: u64) -> SourceConfig {
    SourceConfig {
        path: Path::Remapped { to: to(1, 0), guest_vector: vector(0x50), handler: Span(handler) },
        ..event(23, SourceKind::Level, 0xd0, 0, to(1, 0), 0)
    }
}

/// the guest masks the pin of its virtual IO-APIC while it handles the interrupt. Its EOI is still passed on; the
/// physical line does not wait for the forced one.
#[test]
fn r37_an_eoi_of_an_intx_that_is_masked_in_the_guest_still_ends_the_physical_interrupt() {
    let mut run = Run::new(&host(remapped_intx(50 * MICROSECOND)));
    run.raise(10 * MICROSECOND, 0);
    run.until(30 * MICROSECOND);
    assert_eq!(run.count(|fact| matches!(fact, Fact::HandlerEntered { .. })), 1, "the handler runs");
    run.machine.set_guest_mask(Time(30 * MICROSECOND), SourceIndex(0), GuestMask::Masked, &mut run.driver);
    run.until(5 * MILLISECOND);
    let (began, ended, by) = retention(&run);
    assert_eq!(by, RetentionEnd::Guest);
    assert!(ended - began < FORCED_EOI_NS / 2);
    assert_eq!(run.count(|fact| matches!(fact, Fact::Exit { cause: ExitCause::Eoi, .. })), 1);
}

#[test]
fn an_intx_behind_the_guests_mask_waits_for_the_mask_and_is_not_lost() {
    let mut run = Run::new(&host(remapped_intx(5 * MICROSECOND)));
    run.machine.set_guest_mask(Time(0), SourceIndex(0), GuestMask::Masked, &mut run.driver);
    run.raise(10 * MICROSECOND, 0);
    run.until(3 * MILLISECOND);
    assert!(run.completed(0).is_empty());
    let (_, _, by) = retention(&run);
    assert_eq!(by, RetentionEnd::Forced);
    let unmasked = 3 * MILLISECOND;
    run.machine.set_guest_mask(Time(unmasked), SourceIndex(0), GuestMask::Unmasked, &mut run.driver);
    run.until(6 * MILLISECOND);
    assert_eq!(run.completed(0).len(), 1);
    assert!(run.completed(0)[0] >= unmasked);
}

/// The EOI of a lower interrupt cannot pass one above it on the stack: the local APIC would end the wrong one.
#[test]
fn delayed_eois_are_sent_from_the_top_of_the_stack() {
    let mut config = host(event(23, SourceKind::EdgeUnmaskable, 0xb0, 0, to(1, 0), 50 * MICROSECOND));
    config.domains.push(domain(2, DomainKind::Pv, VcpuLoad::Idle, &[0]));
    config.sources.push(event(24, SourceKind::EdgeUnmaskable, 0xd0, 0, to(2, 0), NEVER));
    let mut run = Run::new(&config);
    run.raise(10 * MICROSECOND, 0);
    run.raise(20 * MICROSECOND, 4);
    run.until(5 * MILLISECOND);
    let ends: Vec<(u64, u32, RetentionEnd)> = run
        .driver
        .facts
        .iter()
        .filter_map(|(at, fact)| match fact {
            Fact::RetentionEnded { source, by, .. } => Some((at.0, source.0, *by)),
            _ => None,
        })
        .collect();
    assert_eq!(ends.len(), 2);
    assert_eq!((ends[0].1, ends[0].2), (4, RetentionEnd::Forced));
    assert_eq!((ends[1].1, ends[1].2), (0, RetentionEnd::Guest));
    assert_eq!(ends[0].0, ends[1].0, "the lower one was ready long ago and goes with the higher");
    assert!(ends[0].0 > 20 * MICROSECOND + FORCED_EOI_NS, "the higher one had its full time");
}

/// Xen's 1 ms runs for each interrupt from its own dispatch, and a delayed EOI waits for those above it: the lowest of a
/// stack of `n` classes is in service for up to `n` ms. Only a higher class can come on top, so the dynamic vectors allow
/// thirteen, 2 to E (`flush_ready_eoi`, `irq_guest_eoi_timer_fn`).
#[test]
fn interrupts_stacked_just_in_time_keep_the_lowest_in_service_for_a_millisecond_each() {
    for classes in [1u8, 2, 5, 13] {
        let mut config = host(event(23, SourceKind::EdgeUnmaskable, 0xd0, 0, to(1, 0), NEVER));
        let lowest = 0xf - classes;
        config.sources = (lowest..0xf)
            .map(|class| {
                let id = u32::from(class);
                event(id, SourceKind::EdgeUnmaskable, class << 4 | 3, 1, to(1, 0), NEVER)
            })
            .collect();
        let mut run = Run::new(&config);
        let (start, handler) = (MILLISECOND, 5 * MICROSECOND);
        for source in 0..u32::from(classes) {
            // Each comes when the one before it has all but had its time.
            run.raise(start + u64::from(source) * (FORCED_EOI_NS - handler), source);
        }
        run.until(30 * MILLISECOND);
        let ends = run.times(|fact| matches!(fact, Fact::RetentionEnded { .. }));
        assert_eq!(ends.len(), usize::from(classes));
        assert!(ends.iter().all(|end| *end == ends[0]), "all go with the highest");
        let kept = ends[0] - run.dispatched(0)[0];
        let bound = u64::from(classes) * (FORCED_EOI_NS + handler);
        assert!((bound - 2 * u64::from(classes) * handler..=bound).contains(&kept), "{classes} classes: {kept} ns");
    }
}

/// A line shared by dom0 and a guest is ended when both are done: dom0's own interrupt waits for the guest.
#[test]
fn a_shared_line_is_in_service_until_its_slowest_domain_is_done() {
    let mut config = host(event(23, SourceKind::Level, 0xd0, 0, to(0, 0), 5 * MICROSECOND));
    config.sources.push(event(23, SourceKind::Level, 0xd0, 0, to(1, 0), 300 * MICROSECOND));
    let mut run = Run::new(&config);
    run.raise(10 * MICROSECOND, 0);
    run.until(5 * MILLISECOND);
    let (began, ended, by) = retention(&run);
    assert_eq!(by, RetentionEnd::Guest);
    assert!(ended - began >= 300 * MICROSECOND);
    assert_eq!(run.completed(0).len(), 1);
    assert!(run.completed(0)[0] < ended, "dom0 was done long before");
    assert!(run.completed(4).is_empty(), "the guest's device had raised nothing");
}
