//! `below-dom0` keeps its order through every sequence of operations, and refuses a source only where no vector would do.
//!
//! What is legal is worked out here from the leases alone, vector by vector.

mod naive;

use naive::Mirror;
use naive::Operation;
use naive::legal;
use naive::operation;
use naive::tiny_layout;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::IoApicAck;
use vector_allocator::Policy;
use vector_allocator::Rank;
use vector_allocator::VectorAllocator;

const POLICIES: [Policy; 3] = [Policy::XenCursor, Policy::Spread, Policy::BelowDom0];

fn host(policy: Policy, model: DestinationModel, cpus: u32) -> Mirror {
    let all = CpuSet::first_n(cpus);
    Mirror::new(VectorAllocator::new(tiny_layout(), model, cpus, &all, policy, IoApicAck::New).unwrap(), policy, model)
}

fn models(cluster_size: u32) -> [DestinationModel; 2] {
    [DestinationModel::Physical, DestinationModel::Logical { cluster_size }]
}

proptest! {
    #[test]
    fn random_operations_keep_every_invariant_under_every_policy(
        operations in vec(operation(5), 1..120), cluster_size in 1u32..5, which in any::<bool>(),
    ) {
        for policy in POLICIES {
            let mut mirror = host(policy, models(cluster_size)[usize::from(which)], 5);
            for operation in &operations {
                mirror.apply(operation);
            }
        }
    }
}

#[test]
fn all_short_sequences_on_tiny_hosts_keep_every_invariant() {
    let operations = |cpus: u32| {
        let masks = (1..1u64 << cpus).map(|bits| CpuSet::from_words(&[bits]));
        let allocations = masks.flat_map(|mask| {
            [Rank::Host, Rank::Guest, Rank::Retaining].map(|rank| Operation::Allocate(rank, mask.clone()))
        });
        let moves = (0..cpus).map(|cpu| Operation::Move(0, CpuSet::from_words(&[1 << cpu])));
        let rest = [Operation::Release(0), Operation::Release(1), Operation::Finish(0, CpuSet::new())];
        allocations.chain(moves).chain(rest).collect::<Vec<_>>()
    };
    let mut visited = 0u32;
    for (cpus, length) in [(1, 5), (2, 4), (3, 3)] {
        for policy in POLICIES {
            for model in models(2) {
                visited += every_sequence(&host(policy, model, cpus), &operations(cpus), length);
            }
        }
    }
    assert!(visited > 100_000, "{visited}");
}

/// Applies every sequence of up to `length` operations; how many there were.
fn every_sequence(mirror: &Mirror, operations: &[Operation], length: u32) -> u32 {
    if length == 0 {
        return 0;
    }
    let mut visited = 0;
    for operation in operations {
        let mut next = mirror.clone();
        next.apply(operation);
        visited += 1 + every_sequence(&next, operations, length - 1);
    }
    visited
}

#[test]
fn the_boundary_floats_until_the_last_vector_is_leased() {
    // Hosts take from the top until the guests stop them, and the other way round: no vector is set aside.
    let mut mirror = host(Policy::BelowDom0, DestinationModel::Physical, 1);
    let all = CpuSet::first_n(1);
    for rank in [Rank::Guest, Rank::Host, Rank::Guest, Rank::Host, Rank::Host, Rank::Host] {
        mirror.apply(&Operation::Allocate(rank, all.clone()));
    }
    assert_eq!(mirror.leases.len(), 6, "the layout's six vectors are all leased");
    assert!(!legal(&mirror, &all, Rank::Host));
}
