//! The `xen-cursor` policy against Xen's rule written down naively: per CPU a table of what is taken, and one cursor.

use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::proptest;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::IoApicAck;
use vector_allocator::Lease;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

const CPUS: u32 = 4;

/// Xen's tables.
struct Xen {
    taken: [[bool; 256]; CPUS as usize],
    cluster: u32,
    current_vector: usize,
    current_offset: usize,
}

/// A vector and the CPUs it is taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    vector: u8,
    cpus: Vec<usize>,
}

impl Xen {
    fn new(cluster: u32) -> Self {
        Self { taken: [[false; 256]; CPUS as usize], cluster, current_vector: 0x20, current_offset: 0 }
    }

    /// The CPUs that share a vector with `cpu`.
    fn domain(&self, cpu: usize) -> Vec<usize> {
        let cluster = self.cluster as usize;
        (0..CPUS as usize).filter(|other| other / cluster == cpu / cluster).collect()
    }

    fn assign(&mut self, mask: &[usize]) -> Option<Held> {
        for cpu in mask {
            let cpus = self.domain(*cpu);
            let (mut vector, mut offset) = (self.current_vector, self.current_offset);
            loop {
                vector += 8;
                if vector > 0xef {
                    offset = (offset + 1) % 8;
                    vector = 0x20 + offset;
                }
                if vector == self.current_vector {
                    break;
                }
                let reserved = [0x20, 0x21, 0x22, 0x30, 0x80, 0x82].contains(&vector);
                let legacy = cpus.contains(&0) && vector < 0x30;
                if reserved || legacy || cpus.iter().any(|cpu| self.taken[*cpu][vector]) {
                    continue;
                }
                (self.current_vector, self.current_offset) = (vector, offset);
                cpus.iter().for_each(|cpu| self.taken[*cpu][vector] = true);
                return Some(Held { vector: u8::try_from(vector).unwrap(), cpus });
            }
        }
        None
    }

    fn free(&mut self, held: &Held) {
        held.cpus.iter().for_each(|cpu| self.taken[*cpu][usize::from(held.vector)] = false);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Lease(u64),
    Release(usize),
    Move(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    (0u8..8, 0usize..1000, 1u64..1 << CPUS).prop_map(|(what, index, mask)| match what {
        0..5 => Step::Lease(mask),
        5 => Step::Release(index),
        _ => Step::Move(index, mask),
    })
}

fn held(host: &VectorAllocator, lease: Lease) -> Held {
    let placement = host.placement(lease).unwrap();
    Held { vector: placement.vector.number(), cpus: placement.holders.iter().map(CpuId::index).collect() }
}

proptest! {
    #[test]
    fn every_vector_is_the_one_xens_tables_give(steps in vec(step(), 1..1200), physical in 0u8..2) {
        let (cluster, model) = match physical {
            0 => (1, DestinationModel::Physical),
            _ => (2, DestinationModel::Logical { cluster_size: 2 }),
        };
        let (layout, all) = (VectorLayout::xen(XenLayout::default()), CpuSet::first_n(CPUS));
        let mut host = VectorAllocator::new(layout, model, CPUS, &all, Policy::XenCursor, IoApicAck::New).unwrap();
        let mut xen = Xen::new(cluster);
        let mut leases: Vec<(Lease, Held)> = Vec::new();
        for step in steps {
            match step {
                Step::Lease(bits) => {
                    let set = CpuSet::from_words(&[bits]);
                    let mask: Vec<usize> = set.iter().map(CpuId::index).collect();
                    let ours = host.allocate(Owner::Dom0, SourceKind::EdgeMaskable, &set).ok();
                    let theirs = xen.assign(&mask);
                    assert_eq!(ours.map(|lease| held(&host, lease)), theirs.clone());
                    leases.extend(ours.zip(theirs));
                }
                Step::Release(index) if !leases.is_empty() => {
                    let (lease, held) = leases.swap_remove(index % leases.len());
                    host.release(lease).unwrap();
                    xen.free(&held);
                }
                Step::Move(index, bits) if !leases.is_empty() => {
                    let which = index % leases.len();
                    let set = CpuSet::from_words(&[bits]);
                    let mask: Vec<usize> = set.iter().map(CpuId::index).collect();
                    let (lease, old) = leases[which].clone();
                    let now = match old.cpus.iter().any(|cpu| mask.contains(cpu)) {
                        true => Some(old.clone()),
                        false => xen.assign(&mask).inspect(|_| xen.free(&old)),
                    };
                    assert_eq!(host.begin_move(lease, &set).is_ok(), now.is_some());
                    let _: Result<_, _> = host.finish_move(lease, &CpuSet::new());
                    leases[which].1 = now.unwrap_or(old);
                    assert_eq!(held(&host, lease), leases[which].1);
                }
                Step::Release(_) | Step::Move(..) => {}
            }
        }
        assert_eq!(host.check(), Ok(()));
    }
}
