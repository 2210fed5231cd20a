//! The `spread` policy decides as Linux's `irq_matrix` does, a million times over.

use std::collections::BTreeMap;

use carillon_tests::LinearScan;
use carillon_tests::Slot;
use carillon_tests::Xorshift;
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
use vector_allocator::VectorSet;

const OWNER: Owner = Owner::Dom0;
const KIND: SourceKind = SourceKind::EdgeMaskable;

/// What the oracle knows of a lease.
struct Known {
    slot: Slot,
    affinity: CpuSet,
    managed: bool,
}

/// The allocator and its oracle, fed the same operations.
struct Pair {
    ours: VectorAllocator,
    oracle: LinearScan,
    known: BTreeMap<Lease, Known>,
    random: Xorshift,
    cpus: u32,
}

impl Pair {
    fn new(cpus: u32, seed: u64) -> Self {
        let mut random = Xorshift::new(seed);
        // A CPU that has never been online counts differently from one that has gone.
        let online: CpuSet = (0..cpus).filter(|cpu| *cpu == 0 || random.below(8) != 0).map(CpuId).collect();
        let (layout, model) = (VectorLayout::linux(), DestinationModel::Physical);
        let ours = VectorAllocator::new(layout, model, cpus, &online, Policy::Spread, IoApicAck::New).unwrap();
        let mut oracle = LinearScan::new(cpus);
        for cpu in online.iter() {
            oracle.online(cpu.0);
        }
        Self { ours, oracle, known: BTreeMap::new(), random, cpus }
    }

    fn cpu(&mut self) -> CpuId {
        CpuId(u32::try_from(self.random.below(u64::from(self.cpus))).unwrap())
    }

    fn mask(&mut self) -> CpuSet {
        match self.random.below(4) {
            0 => CpuSet::first_n(self.cpus),
            1 => CpuSet::single(self.cpu()),
            2 => (0..3).map(|_| self.cpu()).collect(),
            _ => (0..self.cpus).filter(|_| self.random.below(2) == 0).map(CpuId).collect(),
        }
    }

    fn step(&mut self) {
        match self.random.below(1000) {
            0..500 => self.allocate(),
            500..900 => self.release(),
            900..930 => self.reserve(),
            930..945 => self.remove(),
            945..990 => self.allocate_managed(),
            990..995 => self.offline(),
            _ => self.online(),
        }
    }

    fn compare(&mut self, ours: Option<Lease>, theirs: Option<Slot>, affinity: CpuSet, managed: bool) {
        let slot = ours.map(|lease| slot(&self.ours, lease));
        assert_eq!(slot, theirs, "managed: {managed}, affinity {affinity}");
        if let (Some(lease), Some(slot)) = (ours, theirs) {
            self.known.insert(lease, Known { slot, affinity, managed });
        }
    }

    fn allocate(&mut self) {
        let mask = self.mask();
        let (ours, theirs) = (self.ours.allocate(OWNER, KIND, &mask).ok(), self.oracle.allocate(mask.words()));
        self.compare(ours, theirs, mask, false);
    }

    fn allocate_managed(&mut self) {
        let mask = self.mask();
        let theirs = self.oracle.allocate_managed(mask.words());
        let ours = self.ours.allocate_managed(OWNER, KIND, &mask).ok();
        self.compare(ours, theirs, mask, true);
    }

    fn release(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let index = usize::try_from(self.random.below(self.known.len() as u64)).unwrap();
        let lease = *self.known.keys().nth(index).unwrap();
        self.ours.release(lease).unwrap();
        let known = self.known.remove(&lease).unwrap();
        self.free(&known);
    }

    fn free(&mut self, known: &Known) {
        if known.managed { self.oracle.free_managed(known.slot) } else { self.oracle.free(known.slot) }
    }

    fn reserve(&mut self) {
        let mask = self.mask();
        assert_eq!(self.ours.reserve_managed(OWNER, KIND, &mask).is_ok(), self.oracle.reserve_managed(mask.words()));
    }

    fn remove(&mut self) {
        let mask = self.mask();
        assert_eq!(self.ours.remove_managed(OWNER, KIND, &mask).is_ok(), self.oracle.remove_managed(mask.words()));
    }

    fn online(&mut self) {
        let cpu = self.cpu();
        if self.ours.bring_online(cpu).is_ok() {
            self.oracle.online(cpu.0);
        }
    }

    /// Takes a CPU offline; the oracle draws for its leases in their order, in the affinity and then anywhere.
    fn offline(&mut self) {
        let cpu = self.cpu();
        if self.ours.take_offline(cpu, &VectorSet::EMPTY).is_err() {
            return;
        }
        self.oracle.offline(cpu.0);
        let online = self.ours.online().clone();
        let leases: Vec<Lease> =
            self.known.iter().filter(|(_, known)| known.slot.0 == cpu.0).map(|(lease, _)| *lease).collect();
        for lease in leases {
            let known = self.known.remove(&lease).unwrap();
            let within = known.affinity.intersection(&online);
            let mut draw = |mask: &CpuSet| match known.managed {
                true => self.oracle.allocate_managed(mask.words()),
                false => self.oracle.allocate(mask.words()),
            };
            let drawn = draw(&within).or_else(|| draw(&online));
            if drawn.is_some() {
                self.free(&known);
            }
            let slot_now = drawn.unwrap_or(known.slot);
            assert_eq!(slot(&self.ours, lease), slot_now, "{lease} moved off CPU {cpu}");
            self.known.insert(lease, Known { slot: slot_now, ..known });
        }
    }
}

fn slot(allocator: &VectorAllocator, lease: Lease) -> Slot {
    let placement = allocator.placement(lease).unwrap();
    (placement.target.0, placement.vector.number())
}

fn decisions_agree(cpus: u32, steps: u32, seed: u64) {
    println!("seed {seed:#x}");
    let mut pair = Pair::new(cpus, seed);
    for step in 0..steps {
        pair.step();
        if step % 1000 == 0 {
            assert_eq!(pair.ours.check(), Ok(()), "step {step}");
        }
    }
    assert_eq!(pair.ours.check(), Ok(()));
}

#[test]
fn v4_a_million_decisions_are_those_of_the_linear_scan() {
    decisions_agree(1, 100_000, 0x9e37_79b9_7f4a_7c15);
    decisions_agree(2, 200_000, 0xbf58_476d_1ce4_e5b9);
    decisions_agree(4, 400_000, 0x94d0_49bb_1331_11eb);
    decisions_agree(17, 200_000, 0x2545_f491_4f6c_dd1d);
    decisions_agree(64, 80_000, 0xd6e8_feb8_6659_fd93);
    decisions_agree(100, 20_000, 0xa076_1d64_78bd_642f);
}
