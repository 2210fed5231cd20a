//! Plans for small hosts against every sequence of moves there is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prop_oneof;
use proptest::proptest;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::Chance;
use vector_allocator::CpuSet;
use vector_allocator::CustomLayout;
use vector_allocator::DestinationModel;
use vector_allocator::Goal;
use vector_allocator::Inversion;
use vector_allocator::InversionKind;
use vector_allocator::IoApicAck;
use vector_allocator::Mobility;
use vector_allocator::Optimality;
use vector_allocator::Owner;
use vector_allocator::Pinning;
use vector_allocator::Plan;
use vector_allocator::Retarget;
use vector_allocator::SourceKind;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;
use vector_allocator::When;
use vector_allocator::inversions;
use vector_allocator::plan;

use crate::hosts::GUEST;
use crate::hosts::cpus;
use crate::hosts::source;
use crate::hosts::vector;

/// Seven vectors in four classes.
const VECTORS: [u8; 7] = [0x2e, 0x2f, 0x30, 0x31, 0x40, 0x41, 0x50];

/// Vectors alone, so that the whole space can be walked.
const VECTORS_ONLY: Goal = Goal {
    mend: vector_allocator::Harms::All,
    movers: vector_allocator::Movers::Anyone,
    retarget: Retarget::Forbidden,
    pin: Pinning::Forbidden,
};

/// How many of the vectors a host has, and what stands where.
#[derive(Clone, Debug)]
struct Small {
    vectors: usize,
    model: DestinationModel,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
struct Piece {
    owner: Owner,
    kind: SourceKind,
    vector: usize,
    cpu: u32,
    roams: bool,
    is_fixed: bool,
    is_bound: bool,
}

fn small() -> impl Strategy<Value = Small> {
    let owner = prop_oneof![3 => Just(GUEST), 3 => Just(Owner::Dom0), 1 => Just(Owner::System)];
    let kind = prop_oneof![2 => Just(SourceKind::EdgeMaskable), 1 => Just(SourceKind::Level)];
    let unlikely = || proptest::bool::weighted(0.15);
    let piece = (owner, kind, 0usize..7, 0u32..2, proptest::bool::ANY, unlikely(), unlikely());
    let piece = piece.prop_map(|(owner, kind, vector, cpu, roams, is_fixed, unbound)| Piece {
        owner,
        kind,
        vector,
        cpu,
        roams,
        is_fixed,
        is_bound: !unbound,
    });
    let model = prop_oneof![Just(DestinationModel::Physical), Just(DestinationModel::FLAT)];
    (2usize..=7, model, proptest::collection::vec(piece, 2..6)).prop_map(|(vectors, model, pieces)| Small {
        vectors,
        model,
        pieces,
    })
}

fn host(small: &Small) -> Assignment {
    let leasable: VectorSet = VECTORS[..small.vectors].iter().map(|number| vector(*number)).collect();
    let layout = VectorLayout::custom(CustomLayout {
        boot_cpu: leasable,
        other_cpus: leasable,
        notification: VectorSet::EMPTY,
        system: VectorSet::EMPTY,
    })
    .unwrap();
    let both = CpuSet::first_n(2);
    let is_flat = small.model == DestinationModel::FLAT;
    let mut sources: Vec<AssignedSource> = Vec::new();
    for (id, piece) in small.pieces.iter().enumerate() {
        let number = VECTORS[piece.vector % small.vectors];
        let mut new = source(u32::try_from(id).unwrap(), piece.owner, piece.kind, number, &[piece.cpu]);
        if is_flat {
            new.holders = both.clone();
        }
        if is_flat && piece.roams {
            new.reachable = both.clone();
        }
        if piece.is_fixed {
            new.mobility = Mobility::Fixed("for the test".into());
        }
        if !piece.is_bound {
            new.binders.clear();
        }
        if sources.iter().all(|other| other.vector != new.vector || !other.holders.intersects(&new.holders)) {
            sources.push(new);
        }
    }
    Assignment { layout, model: small.model, online: both, ioapic_ack: IoApicAck::New, sources }
}

/// Inversions counted, the worst kind first.
fn harm(host: &Assignment) -> [usize; 4] {
    let count = |kind| inversions(host).filter(|inversion| inversion.kind == kind).count();
    [
        count(InversionKind::Retention(When::Now)),
        count(InversionKind::Retention(When::AfterMove)),
        count(InversionKind::Rank),
        count(InversionKind::Possible(Chance::VectorsKept)),
    ]
}

fn vectors(host: &Assignment) -> Vec<u8> {
    host.sources.iter().map(|source| source.vector.number()).collect()
}

/// The least harm that any sequence of moves leads to, and the fewest moves to it.
fn best_by_trial(start: &Assignment, vectors_of_layout: &[u8]) -> ([usize; 4], usize) {
    let mut depths = BTreeMap::from([(vectors(start), 0)]);
    let mut queue = VecDeque::from([start.clone()]);
    let mut best = (harm(start), 0);
    while let Some(host) = queue.pop_front() {
        let depth = depths[&vectors(&host)];
        best = best.min((harm(&host), depth));
        for index in 0..host.sources.len() {
            if host.sources[index].mobility != Mobility::Movable {
                continue;
            }
            for number in vectors_of_layout {
                let to = vector(*number);
                let on = &host.sources[index].holders;
                if host.sources.iter().any(|other| other.vector == to && other.holders.intersects(on)) {
                    continue;
                }
                let mut next = host.clone();
                next.sources[index].vector = to;
                let known = vectors(&next);
                if let std::collections::btree_map::Entry::Vacant(new) = depths.entry(known) {
                    new.insert(depth + 1);
                    queue.push_back(next);
                }
            }
        }
    }
    best
}

/// Carries a plan out move by move: every new vector must be free on every CPU when it is reserved, the old one with it.
fn check_steps(host: &Assignment, plan: &Plan) {
    let mut now = host.clone();
    for step in &plan.moves {
        let one = Plan { moves: vec![step.clone()], ..plan.clone() };
        let next = one.apply(&now);
        let is_moved = |source: &&AssignedSource| {
            source.id == step.source && matches!(step.change, vector_allocator::Change::Revector { .. })
        };
        for source in next.sources.iter().filter(is_moved) {
            let taken: VectorSet = now
                .sources
                .iter()
                .filter(|other| other.holders.intersects(&source.holders))
                .map(|other| other.vector)
                .collect::<VectorSet>();
            assert!(!taken.contains(source.vector), "{step} takes a vector in use");
            assert!(source.holders.iter().all(|cpu| now.layout.leasable(cpu).contains(source.vector)));
        }
        now = next;
    }
}

/// No state between two moves has a pair inverted that was not inverted at the start, unless a move had to make room.
fn check_states_between(host: &Assignment, plan: &Plan) {
    if plan.moves.iter().any(|step| step.mends.is_empty()) {
        return;
    }
    let pairs = |host: &Assignment| -> BTreeSet<(u32, u32)> {
        inversions(host).map(|inversion| (inversion.guest.0, inversion.dom0.0)).collect()
    };
    let before = pairs(host);
    for done in 1..plan.moves.len() {
        let so_far = Plan { moves: plan.moves[..done].to_vec(), ..plan.clone() };
        assert!(pairs(&so_far.apply(host)).is_subset(&before), "after {done} moves of {plan:#?}");
    }
}

/// Every single inversion, by kind and pair.
fn listed(found: impl Iterator<Item = Inversion>) -> BTreeSet<(InversionKind, u32, u32)> {
    found.map(|inversion| (inversion.kind, inversion.guest.0, inversion.dom0.0)).collect()
}

/// What a plan says remains, by kind and pair.
fn said_to_remain(plan: &Plan) -> BTreeSet<(InversionKind, u32, u32)> {
    let mut said = BTreeSet::new();
    for remaining in &plan.remaining {
        assert!(!remaining.because.is_empty(), "{remaining:?}");
        for guest in &remaining.guests {
            for dom0 in &remaining.dom0 {
                assert!(said.insert((remaining.kind, guest.0, dom0.0)), "listed twice: {remaining:?}");
            }
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn on_small_hosts_no_sequence_of_moves_leaves_less_or_is_shorter(small in small()) {
        let host = host(&small);
        let plan = plan(&host, &VECTORS_ONLY);
        let after = plan.apply(&host);
        let (least, fewest) = best_by_trial(&host, &VECTORS[..small.vectors]);
        assert_eq!(harm(&after), least, "{plan:#?}");
        assert_eq!(plan.moves.len(), fewest, "{plan:#?}");
        assert_eq!(plan.optimality, Optimality::Proven);
        check_steps(&host, &plan);
        check_states_between(&host, &plan);
        assert_eq!(listed(inversions(&after)), said_to_remain(&plan));
    }

    #[test]
    fn after_any_plan_the_inversions_are_those_it_says_remain(
        small in small(),
        reach in proptest::collection::vec(0u32..4, 6),
        everyone in proptest::bool::ANY,
    ) {
        let mut host = host(&small);
        for (source, more) in host.sources.iter_mut().zip(reach) {
            let more = cpus(&[more]);
            source.reachable = source.reachable.union(&more);
        }
        host.online = CpuSet::first_n(4);
        let pin = if everyone { Pinning::Anyone } else { Pinning::GuestsOnly };
        let plan = plan(&host, &Goal { pin, ..Goal::default() });
        let after = plan.apply(&host);
        check_pins(&plan);
        check_steps(&host, &plan);
        assert_eq!(listed(inversions(&after)), said_to_remain(&plan), "{plan:#?}");
        assert!(harm(&after)[0] <= harm(&host)[0]);
    }
}

/// A pin only ever takes CPUs away, and keeps the source on one of the rest.
fn check_pins(plan: &Plan) {
    for step in &plan.moves {
        if let vector_allocator::Change::Pin { from, to, target } = &step.change {
            assert!(to.is_subset(from) && to != from, "{step}");
            assert!(!target.is_empty() && target.is_subset(to), "{step}");
            assert!(!step.mends.is_empty(), "{step}");
        }
    }
}

#[test]
fn an_exchange_without_a_spare_vector_is_refused_and_with_one_it_is_found() {
    let full = Small {
        vectors: 2,
        model: DestinationModel::Physical,
        pieces: [(Owner::Dom0, 0), (GUEST, 1)]
            .map(|(owner, vector)| Piece {
                owner,
                kind: SourceKind::EdgeMaskable,
                vector,
                cpu: 0,
                roams: false,
                is_fixed: false,
                is_bound: true,
            })
            .into(),
    };
    let refused = plan(&host(&full), &VECTORS_ONLY);
    assert!(refused.moves.is_empty());
    assert_eq!(refused.remaining[0].because[0].to_string(), "an exchange needs one spare vector on CPUs {0}");
    let spare = plan(&host(&Small { vectors: 3, ..full }), &VECTORS_ONLY);
    assert_eq!((spare.moves.len(), spare.remaining.len()), (1, 0));
}
