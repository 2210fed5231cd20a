//! Inversions of all three kinds.

use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::Chance;
use vector_allocator::DestinationModel;
use vector_allocator::Inversion;
use vector_allocator::InversionKind;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::When;
use vector_allocator::inversions;
use vector_allocator::latent;
use vector_allocator::retentions;

use crate::hosts::GUEST;
use crate::hosts::cpus;
use crate::hosts::intx;
use crate::hosts::nic;
use crate::hosts::source;

const KEPT: InversionKind = InversionKind::Possible(Chance::VectorsKept);
const DRAWN: InversionKind = InversionKind::Possible(Chance::VectorDrawn);

/// The pairs of one kind, in order of their numbers.
fn pairs(found: &[Inversion], kind: InversionKind) -> Vec<(u32, u32)> {
    let mut pairs: Vec<_> = found.iter().filter(|i| i.kind == kind).map(|i| (i.guest.0, i.dom0.0)).collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn the_recorded_nic_outranks_two_of_dom0s_sources_now_and_five_after_a_move() {
    let host = nic();
    let found: Vec<_> = inversions(&host).collect();
    assert_eq!(pairs(&found, InversionKind::Rank), [(26, 8), (26, 9), (27, 8), (27, 9)]);
    assert_eq!(
        pairs(&found, KEPT),
        [26, 27].iter().flat_map(|guest| [1, 12, 20, 21, 25].map(|dom0| (*guest, dom0))).collect::<Vec<_>>()
    );
    assert_eq!(found.len(), 14, "no retention and no lottery");
    let rank = found.iter().find(|i| i.kind == InversionKind::Rank).unwrap();
    assert_eq!(rank.cpus, cpus(&[0]));
    assert!(retentions(&host).is_empty());
}

#[test]
fn r_97_the_recorded_level_line_retains_the_in_service_bit_over_c8_and_b8_on_cpu_3() {
    let host = intx();
    let found: Vec<_> = inversions(&host).collect();
    assert_eq!(pairs(&found, InversionKind::Retention(When::Now)), [(23, 21), (23, 25)]);
    assert_eq!(pairs(&found, InversionKind::Rank), [(23, 21), (23, 25)]);
    assert_eq!(pairs(&found, InversionKind::Retention(When::AfterMove)), [(23, 1), (23, 8), (23, 9), (23, 12)]);
    assert!(found.iter().filter(|i| i.kind == InversionKind::Retention(When::Now)).all(|i| i.cpus == cpus(&[3])));

    let retained = retentions(&host);
    assert_eq!(retained.len(), 1);
    let system: Vec<_> = retained[0].blocked.iter().filter(|b| b.owner == Owner::System).collect();
    assert_eq!(system.iter().map(|b| (b.source, b.when)).collect::<Vec<_>>(), [(SourceId(24), When::AfterMove)]);
    assert_eq!(retained[0].blocked.len(), 7, "six of dom0's and the IOMMU's 30; F0 and F1 are of a higher class");
}

#[test]
fn old_io_apic_acknowledgement_retains_nothing() {
    let host = Assignment { ioapic_ack: IoApicAck::Old, ..intx() };
    assert!(inversions(&host).all(|i| !matches!(i.kind, InversionKind::Retention(_))));
    assert!(retentions(&host).is_empty());
}

#[test]
fn a_source_nobody_is_bound_to_inverts_nothing_but_is_listed_as_latent() {
    let host = nic();
    assert!(inversions(&host).all(|i| i.guest != SourceId(28)));
    let waiting: Vec<_> = latent(&host).collect();
    assert_eq!(pairs(&waiting, InversionKind::Rank), [(28, 8), (28, 9)]);
    assert_eq!(waiting.len(), 7);
}

#[test]
fn a_retaining_source_blocks_its_own_class_even_from_below() {
    let mut host = nic();
    host.sources = vec![
        source(1, GUEST, SourceKind::EdgeUnmaskable, 0x61, &[0]),
        source(2, Owner::Dom0, SourceKind::EdgeMaskable, 0x6f, &[0]),
        source(3, Owner::Dom0, SourceKind::EdgeMaskable, 0x70, &[0]),
    ];
    let found: Vec<_> = inversions(&host).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(pairs(&found, InversionKind::Retention(When::Now)), [(1, 2)]);
}

#[test]
fn with_physical_destinations_a_mover_plays_a_lottery_even_when_the_order_is_right_now() {
    let mut host = nic();
    host.model = DestinationModel::Physical;
    let guest = source(1, GUEST, SourceKind::EdgeMaskable, 0x40, &[0]);
    let dom0 = source(2, Owner::Dom0, SourceKind::EdgeMaskable, 0x90, &[0]);
    host.sources = vec![AssignedSource { reachable: cpus(&[0, 1]), ..guest }, dom0];
    let found: Vec<_> = inversions(&host).collect();
    assert_eq!(pairs(&found, DRAWN), [(1, 2)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].cpus, cpus(&[0]));
}

#[test]
fn two_pinned_sources_in_the_right_order_stay_so() {
    let mut host = nic();
    host.model = DestinationModel::Physical;
    host.sources = vec![
        source(1, GUEST, SourceKind::Level, 0x40, &[0]),
        source(2, Owner::Dom0, SourceKind::EdgeMaskable, 0x90, &[0]),
    ];
    assert_eq!(inversions(&host).count(), 0);
}
