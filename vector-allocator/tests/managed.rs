//! Managed reservations under `below-dom0`, where Linux has no word to say, keep the order too.

use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::proptest;
use proptest::sample::select;
use vector_allocator::AllocateError;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Lease;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;

const CPUS: u32 = 6;

fn host(policy: Policy, model: DestinationModel) -> VectorAllocator {
    let online = CpuSet::first_n(CPUS - 1);
    VectorAllocator::new(VectorLayout::linux(), model, CPUS, &online, policy, IoApicAck::New).unwrap()
}

/// What a step does, to whose source, on which CPUs.
fn step() -> impl Strategy<Value = (u8, Owner, SourceKind, CpuSet)> {
    let owner = select(vec![Owner::Dom0, Owner::Guest(DomainId(1))]);
    let kind = select(vec![SourceKind::EdgeMaskable, SourceKind::EdgeUnmaskable]);
    let mask = (1u64..1 << CPUS).prop_map(|bits| CpuSet::from_words(&[bits]));
    (0u8..16, owner, kind, mask)
}

proptest! {
    #[test]
    fn reservations_keep_every_invariant_under_every_policy(steps in vec(step(), 1..200), size in 0u32..4) {
        let model = if size == 0 { DestinationModel::Physical } else { DestinationModel::Logical { cluster_size: size } };
        for policy in [Policy::XenCursor, Policy::Spread, Policy::BelowDom0] {
            let mut host = host(policy, model);
            let mut leases: Vec<Lease> = Vec::new();
            for (what, owner, kind, mask) in &steps {
                let cpu = mask.first().unwrap_or(CpuId::BOOT);
                match what {
                    0..4 => drop(host.reserve_managed(*owner, *kind, mask)),
                    4..6 => drop(host.remove_managed(*owner, *kind, mask)),
                    6..9 => leases.extend(host.allocate_managed(*owner, *kind, mask)),
                    9..11 => leases.extend(host.allocate(*owner, *kind, mask)),
                    11 => drop(host.take_offline(cpu, &VectorSet::EMPTY)),
                    12 => drop(host.bring_online(cpu)),
                    13 => drop(leases.first().map(|lease| host.begin_move(*lease, mask))),
                    14 => drop(leases.first().map(|lease| host.finish_move(*lease, &CpuSet::new()))),
                    _ => drop(leases.pop().map(|lease| host.release(lease).unwrap())),
                }
                assert_eq!(host.check(), Ok(()));
            }
        }
    }
}

#[test]
fn a_managed_lease_goes_to_the_last_cpu_with_the_fewest_and_back_to_its_reservation() {
    for policy in [Policy::XenCursor, Policy::Spread, Policy::BelowDom0] {
        let mut host = host(policy, DestinationModel::Physical);
        let (owner, kind) = (Owner::Dom0, SourceKind::EdgeMaskable);
        let mask: CpuSet = [1, 2, 5].into_iter().map(CpuId).collect();
        host.reserve_managed(owner, kind, &mask).unwrap();
        let first = host.allocate_managed(owner, kind, &mask).unwrap();
        let second = host.allocate_managed(owner, kind, &mask).unwrap();
        let targets = [first, second].map(|lease| host.placement(lease).unwrap().target);
        assert_eq!(targets, [CpuId(2), CpuId(1)], "CPU 5 is not online");
        let third = host.allocate_managed(owner, kind, &mask);
        assert_eq!(third, Err(AllocateError::NothingReserved { cpu: CpuId(2) }));
        host.release(first).unwrap();
        assert!(host.allocate_managed(owner, kind, &mask).is_ok());
    }
}

#[test]
fn a_managed_lease_moves_inside_its_reservation_and_is_stranded_when_that_is_gone() {
    let mut host = host(Policy::Spread, DestinationModel::Physical);
    let (owner, kind) = (Owner::Dom0, SourceKind::EdgeMaskable);
    let mask: CpuSet = [1, 2].into_iter().map(CpuId).collect();
    host.reserve_managed(owner, kind, &mask).unwrap();
    let lease = host.allocate_managed(owner, kind, &mask).unwrap();
    assert_eq!(host.take_offline(CpuId(2), &VectorSet::EMPTY).unwrap().moved, [lease]);
    assert_eq!(host.placement(lease).unwrap().target, CpuId(1));
    assert_eq!(host.take_offline(CpuId(1), &VectorSet::EMPTY).unwrap().stranded, [lease]);
    host.bring_online(CpuId(1)).unwrap();
    assert_eq!(host.placement(lease).unwrap().target, CpuId(1));
    assert_eq!(host.check(), Ok(()));
}
