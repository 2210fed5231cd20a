//! An allocator with a record of what its answers imply, kept obviously right: a list of who holds which vector where.

use std::collections::BTreeSet;

use proptest::collection::btree_set;
use proptest::prelude::Strategy;
use proptest::prop_oneof;
use proptest::sample::select;
use vector_allocator::AllocateError;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::CustomLayout;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::Drain;
use vector_allocator::IoApicAck;
use vector_allocator::Lease;
use vector_allocator::Move;
use vector_allocator::MoveError;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::Rank;
use vector_allocator::SourceKind;
use vector_allocator::TurnBackError;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;

/// The layout's one vector that is reserved everywhere.
const NOTIFICATION: u8 = 0xf1;

/// What can be asked of an allocator. Leases are named by their index in [`Mirror::leases`], modulo its length.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Allocate(Rank, CpuSet),
    Adopt(Rank, u8, CpuSet),
    Move(usize, CpuSet),
    Finish(usize, CpuSet),
    TurnBack(usize, CpuSet),
    CleanUp(CpuId, VectorSet),
    Release(usize),
    Offline(CpuId, VectorSet),
    Online(CpuId),
}

/// The allocator and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) allocator: VectorAllocator,
    pub(crate) leases: Vec<Lease>,
    policy: Policy,
    model: DestinationModel,
    inherited: BTreeSet<Lease>,
    orphans: Vec<(Rank, Vector, CpuSet)>,
}

/// Six vectors in three classes (0x2e, 0x2f, 0x30, 0x31, 0x4e, 0x4f), the lowest not on the boot CPU.
pub(crate) fn tiny_layout() -> VectorLayout {
    let set = |numbers: &[u8]| numbers.iter().map(|number| Vector::new(*number).unwrap()).collect();
    VectorLayout::custom(CustomLayout {
        boot_cpu: set(&[0x2e, 0x2f, 0x30, 0x31, 0x4e, 0x4f]),
        other_cpus: set(&[0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x4e, 0x4f]),
        notification: set(&[NOTIFICATION]),
        system: VectorSet::EMPTY,
    })
    .unwrap()
}

fn source(rank: Rank) -> (Owner, SourceKind) {
    match rank {
        Rank::Host => (Owner::Dom0, SourceKind::EdgeMaskable),
        Rank::Guest => (Owner::Guest(DomainId(1)), SourceKind::EdgeMaskable),
        Rank::Retaining => (Owner::Guest(DomainId(1)), SourceKind::Level),
    }
}

fn mask(cpus: u32) -> impl Strategy<Value = CpuSet> {
    btree_set(0..cpus, 1..4).prop_map(|numbers| numbers.into_iter().map(CpuId).collect())
}

fn vectors() -> impl Strategy<Value = VectorSet> {
    btree_set(select(vec![0x2du8, 0x2e, 0x2f, 0x30, 0x31, 0x4e, 0x4f]), 0..4)
        .prop_map(|numbers| numbers.into_iter().map(|number| Vector::new(number).unwrap()).collect())
}

/// Any operation on a host of so many CPUs.
pub(crate) fn operation(cpus: u32) -> impl Strategy<Value = Operation> {
    let rank = || select(vec![Rank::Host, Rank::Guest, Rank::Retaining]);
    let vector = select(vec![0x2du8, 0x2e, 0x2f, 0x30, 0x31, 0x4e, 0x4f, NOTIFICATION, 0x80]);
    prop_oneof![
        8 => (rank(), mask(cpus)).prop_map(|(rank, mask)| Operation::Allocate(rank, mask)),
        2 => (rank(), vector, mask(cpus)).prop_map(|(rank, vector, mask)| Operation::Adopt(rank, vector, mask)),
        4 => (0usize..64, mask(cpus)).prop_map(|(index, mask)| Operation::Move(index, mask)),
        4 => (0usize..64, mask(cpus)).prop_map(|(index, mask)| Operation::Finish(index, mask)),
        2 => (0usize..64, mask(cpus)).prop_map(|(index, mask)| Operation::TurnBack(index, mask)),
        2 => (0..cpus, vectors()).prop_map(|(cpu, pending)| Operation::CleanUp(CpuId(cpu), pending)),
        3 => (0usize..64).prop_map(Operation::Release),
        1 => (0..cpus, vectors()).prop_map(|(cpu, pending)| Operation::Offline(CpuId(cpu), pending)),
        1 => (0..cpus).prop_map(|cpu| Operation::Online(CpuId(cpu))),
    ]
}

/// Everyone who holds a vector: rank, vector, CPUs, and whether the order counts him.
fn holders(mirror: &Mirror) -> Vec<(Rank, Vector, CpuSet, bool)> {
    let mut all: Vec<_> = mirror.orphans.iter().map(|(rank, v, cpus)| (*rank, *v, cpus.clone(), true)).collect();
    let seated = |lease: &&Lease| mirror.allocator.placement(**lease).unwrap().vector.number() != NOTIFICATION;
    for lease in mirror.leases.iter().filter(seated) {
        let (owner, kind) = mirror.allocator.tenant(*lease).unwrap();
        let rank = Rank::of(owner, kind, IoApicAck::New);
        let placement = mirror.allocator.placement(*lease).unwrap();
        all.push((rank, placement.vector, placement.holders.to_set(), !mirror.inherited.contains(lease)));
        if let Some(old) = placement.moving_from {
            all.push((rank, old.vector, old.holders.to_set(), true));
        }
    }
    all
}

/// Whether some CPU of the mask has a vector a source of `rank` could be given.
pub(crate) fn legal(mirror: &Mirror, mask: &CpuSet, rank: Rank) -> bool {
    let holders = holders(mirror);
    let online = mirror.allocator.online();
    mask.iter().filter(|cpu| online.contains(*cpu)).any(|cpu| {
        let place = mirror.model.holders(cpu, online);
        let (first, _) = mirror.model.cluster(cpu);
        let layout = tiny_layout();
        let in_place = |cpus: &CpuSet| {
            let (low, count) = mirror.model.cluster(cpu);
            cpus.iter().any(|holder| holder.0 >= low.0 && holder.0 < low.0 + count)
        };
        layout.leasable(first).iter().any(|vector| {
            let free = holders.iter().all(|(_, taken, cpus, _)| *taken != vector || !cpus.intersects(&place));
            let ordered = holders
                .iter()
                .filter(|(_, _, cpus, counts)| *counts && in_place(cpus))
                .all(|(other, taken, _, _)| in_order(rank, vector, *other, *taken));
            free && (mirror.policy != Policy::BelowDom0 || ordered)
        })
    })
}

/// Whether two sources on one CPU are on the right sides of each other.
fn in_order(rank: Rank, vector: Vector, other: Rank, taken: Vector) -> bool {
    match (rank, other) {
        (Rank::Host, Rank::Guest) | (Rank::Guest, Rank::Retaining) => vector.outranks(taken),
        (Rank::Guest, Rank::Host) | (Rank::Retaining, Rank::Guest) => taken.outranks(vector),
        (Rank::Host, Rank::Retaining) => vector.class().outranks(taken.class()),
        (Rank::Retaining, Rank::Host) => taken.class().outranks(vector.class()),
        (Rank::Host, Rank::Host) | (Rank::Guest, Rank::Guest) | (Rank::Retaining, Rank::Retaining) => true,
    }
}

impl Mirror {
    pub(crate) fn new(allocator: VectorAllocator, policy: Policy, model: DestinationModel) -> Self {
        let (leases, orphans, inherited) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { allocator, leases, policy, model, inherited, orphans }
    }

    fn lease(&self, index: usize) -> Option<Lease> {
        self.leases.get(index % self.leases.len().max(1)).copied()
    }

    /// Carries out an operation and checks its answer and every invariant.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Allocate(rank, mask) => self.allocate(*rank, mask),
            Operation::Adopt(rank, vector, mask) => self.adopt(*rank, *vector, mask),
            Operation::Move(index, mask) => self.begin_move(*index, mask),
            Operation::Finish(index, pending) => self.finish_move(*index, pending),
            Operation::TurnBack(index, mask) => self.turn_back(*index, mask),
            Operation::CleanUp(cpu, pending) => {
                self.allocator.clean_up(*cpu, pending);
                for (_, vector, cpus) in &mut self.orphans {
                    if !pending.contains(*vector) {
                        cpus.remove(*cpu);
                    }
                }
            }
            Operation::Release(index) => self.release(*index),
            Operation::Offline(cpu, pending) => self.offline(*cpu, pending),
            Operation::Online(cpu) => drop(self.allocator.bring_online(*cpu)),
        }
        self.orphans.retain(|(_, _, cpus)| !cpus.is_empty());
        assert_eq!(self.allocator.check(), Ok(()), "after {operation:?}");
    }

    fn allocate(&mut self, rank: Rank, mask: &CpuSet) {
        let possible = legal(self, mask, rank);
        let (owner, kind) = source(rank);
        let online = mask.intersection(self.allocator.online());
        match self.allocator.allocate(owner, kind, mask) {
            Ok(lease) => {
                assert!(possible, "{rank} on {mask}: leased where nothing is legal");
                let placement = self.allocator.placement(lease).unwrap();
                assert!(online.contains(placement.target));
                self.leases.push(lease);
            }
            // The vector under Xen's cursor is never probed, so `xen-cursor` may refuse the last one.
            Err(AllocateError::Full { cpus }) if self.policy == Policy::XenCursor => assert_eq!(cpus, online),
            Err(error) => {
                assert!(!possible, "{rank} on {mask}: {error}");
                assert_eq!(matches!(error, AllocateError::NoneOnline { .. }), online.is_empty());
            }
        }
    }

    fn adopt(&mut self, rank: Rank, vector: u8, mask: &CpuSet) {
        let (owner, kind) = source(rank);
        let vector = Vector::new(vector).unwrap();
        let target = mask.first().unwrap();
        let place = self.model.holders(target, self.allocator.online());
        let in_place = |cpus: &CpuSet| cpus.iter().any(|cpu| self.model.cluster(cpu) == self.model.cluster(target));
        let disordered = holders(self).iter().any(|(other, taken, cpus, counts)| {
            (*taken == vector && cpus.intersects(&place))
                || (*counts && in_place(cpus) && !in_order(rank, vector, *other, *taken))
        });
        if let Ok(lease) = self.allocator.adopt(owner, kind, vector, mask, target) {
            self.leases.push(lease);
            if disordered {
                self.inherited.insert(lease);
            }
        }
    }

    fn begin_move(&mut self, index: usize, mask: &CpuSet) {
        let Some(lease) = self.lease(index) else { return };
        let before = self.allocator.placement(lease).unwrap().vector;
        match self.allocator.begin_move(lease, mask) {
            Ok(Move::Kept { target }) => {
                assert!(mask.contains(target));
                assert_eq!(self.allocator.placement(lease).unwrap().vector, before);
            }
            Ok(Move::Started { vector, target, from }) => {
                let placement = self.allocator.placement(lease).unwrap();
                assert_eq!((placement.vector, placement.target, before), (vector, target, from));
                assert!(mask.contains(target));
                if self.inherited.remove(&lease) && placement.moving_from.is_some() {
                    assert_eq!(self.allocator.finish_move(lease, &CpuSet::new()), Ok(Drain::Done));
                }
            }
            Err(MoveError::InFlight { draining, .. }) => {
                let moving = self.allocator.placement(lease).unwrap().moving_from;
                assert_eq!(moving.map(|old| old.vector), Some(draining));
            }
            Err(MoveError::NoVector { .. }) => {
                assert_eq!(self.allocator.placement(lease).unwrap().vector, before);
            }
            Err(MoveError::Stale(stale)) => panic!("{stale}"),
        }
    }

    fn turn_back(&mut self, index: usize, mask: &CpuSet) {
        let Some(lease) = self.lease(index) else { return };
        let placement = self.allocator.placement(lease).unwrap();
        let (now, old) = (placement.vector, placement.moving_from.map(|old| (old.vector, old.holders.to_set())));
        match (self.allocator.turn_back(lease, mask), old) {
            (Ok(Move::Started { vector, target, from }), Some((old, holders))) => {
                assert_eq!((vector, from), (old, now), "the two change places");
                assert!(holders.contains(target) && self.allocator.online().contains(target));
                assert!(mask.contains(target) || !mask.intersects(&holders), "where it is wanted, if it can be");
                let placement = self.allocator.placement(lease).unwrap();
                assert_eq!(placement.moving_from.map(|old| old.vector), Some(now));
            }
            (Err(TurnBackError::GivenUp { old: vector, .. }), Some((old, _))) => assert_eq!(vector, old),
            (Err(TurnBackError::NotMoving { .. }), None) => {}
            (other, old) => panic!("{other:?} with {old:?}"),
        }
    }

    fn finish_move(&mut self, index: usize, pending: &CpuSet) {
        let Some(lease) = self.lease(index) else { return };
        let old = self.allocator.placement(lease).unwrap().moving_from.map(|old| old.holders.to_set());
        let finished = self.allocator.finish_move(lease, pending);
        match old {
            None => assert!(finished.is_err()),
            Some(old) if old.intersects(pending) => {
                let Ok(Drain::Waiting(left)) = finished else { panic!("{finished:?}") };
                assert_eq!(left.to_set(), old.intersection(pending));
            }
            Some(_) => assert_eq!(finished, Ok(Drain::Done)),
        }
    }

    fn release(&mut self, index: usize) {
        let Some(lease) = self.lease(index) else { return };
        let (owner, kind) = self.allocator.tenant(lease).unwrap();
        if let Some(old) = self.allocator.placement(lease).unwrap().moving_from {
            self.orphans.push((Rank::of(owner, kind, IoApicAck::New), old.vector, old.holders.to_set()));
        }
        self.allocator.release(lease).unwrap();
        assert!(self.allocator.release(lease).is_err(), "a second release is stale");
        self.inherited.remove(&lease);
        self.leases.retain(|other| *other != lease);
    }

    fn offline(&mut self, cpu: CpuId, pending: &VectorSet) {
        let model = self.model;
        let seat = |allocator: &VectorAllocator, lease: Lease| {
            let placement = allocator.placement(lease).unwrap();
            (placement.vector, model.cluster(placement.target))
        };
        let before: Vec<_> = self.leases.iter().map(|lease| seat(&self.allocator, *lease)).collect();
        let Ok(evacuation) = self.allocator.take_offline(cpu, pending) else { return };
        for (lease, before) in self.leases.iter().zip(before) {
            let placement = self.allocator.placement(*lease).unwrap();
            let stranded = evacuation.stranded.contains(lease);
            assert!(stranded || placement.target != cpu, "{lease} is still sent to {cpu}");
            if stranded {
                self.inherited.insert(*lease);
            } else if seat(&self.allocator, *lease) != before {
                self.inherited.remove(lease);
            }
        }
        for forward in &evacuation.forwards {
            let placement = self.allocator.placement(forward.lease).unwrap();
            assert!(pending.contains(forward.waited_on));
            assert_eq!((placement.vector, placement.target), (forward.vector, forward.to));
        }
        for (_, _, cpus) in &mut self.orphans {
            cpus.remove(cpu);
        }
    }
}
