//! The published workloads of vector allocation.
//!
//! W1 leases on any CPU and releases a random lease, W2 does both on one random CPU, W3 moves a random lease to a random
//! CPU, W4 reserves a managed vector on all CPUs and drops it again. The host is first filled to an occupancy in percent.

use std::hint::black_box;

use carillon_tests::Xorshift;
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

pub(crate) const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// What Linux leases on a CPU.
const VECTORS_PER_CPU: u32 = 203;
const KIND: SourceKind = SourceKind::EdgeMaskable;

/// How many leases fill a host to an occupancy in percent.
pub(crate) fn leases(cpus: u32, occupancy: u32) -> u32 {
    cpus * VECTORS_PER_CPU * occupancy / 100
}

/// An index below `len`, at random.
pub(crate) fn index(random: &mut Xorshift, len: usize) -> usize {
    // The high half of the product is as good as a remainder, and there is no division to be timed.
    #[expect(clippy::cast_possible_truncation, reason = "below `len`, which is a usize")]
    let index = ((u128::from(random.next()) * len as u128) >> 64) as usize;
    index
}

/// A host under one of our policies.
pub(crate) struct Host {
    allocator: VectorAllocator,
    live: Vec<Lease>,
    all: CpuSet,
    each: Vec<CpuSet>,
    none: CpuSet,
    random: Xorshift,
}

impl Host {
    pub(crate) fn new(policy: Policy, cpus: u32, occupancy: u32) -> Self {
        let all = CpuSet::first_n(cpus);
        let (layout, model) = (VectorLayout::linux(), DestinationModel::Physical);
        let allocator = VectorAllocator::new(layout, model, cpus, &all, policy, IoApicAck::New);
        let allocator = allocator.expect("a host of at most 4096 CPUs can be");
        let each = (0..cpus).map(|cpu| CpuSet::single(CpuId(cpu))).collect();
        let (live, none, random) = (Vec::new(), CpuSet::new(), Xorshift::new(SEED));
        let mut host = Self { allocator, live, all, each, none, random };
        (0..leases(cpus, occupancy)).for_each(|_| host.lease());
        host
    }

    /// Guests' sources and dom0's, as they come.
    fn owner(&mut self) -> Owner {
        if self.random.next() >> 63 == 0 { Owner::Dom0 } else { Owner::Guest(DomainId(1)) }
    }

    fn lease(&mut self) {
        let owner = self.owner();
        let lease = self.allocator.allocate(owner, KIND, &self.all);
        self.live.push(lease.expect("the occupancy leaves room"));
    }

    pub(crate) fn w1(&mut self, operations: u64) {
        for _ in 0..operations {
            self.lease();
            let lease = self.live.swap_remove(index(&mut self.random, self.live.len()));
            self.allocator.release(lease).expect("live leases are in force");
        }
    }

    pub(crate) fn w2(&mut self, operations: u64) {
        for _ in 0..operations {
            let owner = self.owner();
            let cpu = index(&mut self.random, self.each.len());
            let lease = self.allocator.allocate(owner, KIND, &self.each[cpu]).expect("the occupancy leaves room");
            self.allocator.release(black_box(lease)).expect("it was leased just now");
        }
    }

    pub(crate) fn w3(&mut self, operations: u64) {
        for _ in 0..operations {
            let lease = self.live[index(&mut self.random, self.live.len())];
            let cpu = index(&mut self.random, self.each.len());
            // A full CPU refuses, for the scan as for us.
            if self.allocator.begin_move(lease, &self.each[cpu]).is_ok() {
                black_box(self.allocator.finish_move(lease, &self.none).is_ok());
            }
        }
    }

    pub(crate) fn w4(&mut self, operations: u64) {
        for _ in 0..operations {
            let reserved = self.allocator.reserve_managed(Owner::Dom0, KIND, &self.all);
            reserved.expect("the occupancy leaves room on every CPU");
            let removed = self.allocator.remove_managed(Owner::Dom0, KIND, &self.all);
            removed.expect("it was reserved just now");
        }
    }
}
