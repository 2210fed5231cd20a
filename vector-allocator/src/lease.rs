//! Handles of what was given out, and the slab behind them.

use core::fmt;

use alloc::vec;
use alloc::vec::Vec;

use crate::CpuId;
use crate::CpuSet;
use crate::Owner;
use crate::Rank;
use crate::SourceKind;
use crate::Vector;
use crate::seat::Moving;
use crate::seat::Seat;

/// A vector given out: the right to it, until released. A copy of a released lease is stale and refused by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    slot: u32,
    generation: u32,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// The lease was released before, or is none of this allocator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lease {lease} is stale: it was released, or is of another allocator")]
pub struct StaleLease {
    /// The lease.
    pub lease: Lease,
}

/// What a lease stands for.
#[derive(Clone, Debug)]
pub(crate) enum Tenancy {
    /// A vector of the pool.
    Seated(Tenant),
    /// A vector reserved on every CPU.
    Everywhere(Notified),
}

/// Holder of a vector of the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenant {
    pub(crate) owner: Owner,
    pub(crate) kind: SourceKind,
    pub(crate) rank: Rank,
    pub(crate) target: CpuId,
    pub(crate) seat: Seat,
    pub(crate) moving: Option<Moving>,
}

/// Holder of a vector reserved on every CPU.
#[derive(Clone, Debug)]
pub(crate) struct Notified {
    pub(crate) owner: Owner,
    pub(crate) kind: SourceKind,
    pub(crate) vector: Vector,
    pub(crate) target: CpuId,
    pub(crate) holders: CpuSet,
}

/// All leases: a slab whose slots carry a generation, with the affinity of each beside it.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    slots: Vec<Slot>,
    vacant: Option<u32>,
    present: Vec<u64>,
    affinities: Vec<u64>,
}

/// A slot of the slab: one cache line, so that a lease picked out of a hundred thousand costs one miss.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Slot {
    generation: u32,
    reach: Reach,
    state: State,
}

const _: () = assert!(size_of::<Slot>() == 64);

#[derive(Clone, Debug)]
enum State {
    Vacant { next: Option<u32> },
    Taken(Tenancy),
}

/// Whether a lease's affinity is worth storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Every CPU: no words are stored.
    Anywhere,
    /// The words at the slot's place in the table.
    Listed,
}

impl Leases {
    /// No leases, on a machine of `cpus` CPUs.
    pub(crate) fn new(cpus: u32) -> Self {
        let present = CpuSet::first_n(cpus).words().to_vec();
        Self { slots: Vec::new(), vacant: None, present, affinities: Vec::new() }
    }

    /// Hands out a lease.
    #[inline(always)]
    pub(crate) fn insert(&mut self, tenancy: Tenancy, affinity: &CpuSet) -> Lease {
        let slot = match self.vacant {
            Some(slot) => slot,
            None => self.grow(),
        };
        let entry = &mut self.slots[slot as usize];
        if let State::Vacant { next } = entry.state {
            self.vacant = next;
        }
        entry.state = State::Taken(tenancy);
        let lease = Lease { slot, generation: entry.generation };
        self.set_affinity(lease, affinity);
        lease
    }

    /// Adds a vacant slot.
    fn grow(&mut self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a lease holds a vector, and there are 240 on 4096 CPUs")]
        let slot = self.slots.len() as u32;
        self.slots.push(Slot { generation: 0, reach: Reach::Anywhere, state: State::Vacant { next: None } });
        self.affinities.extend(vec![0; self.present.len()]);
        slot
    }

    /// What `lease` stands for.
    #[inline]
    pub(crate) fn get(&self, lease: Lease) -> Result<&Tenancy, StaleLease> {
        match self.slots.get(lease.slot as usize) {
            Some(Slot { generation, state: State::Taken(tenancy), .. }) if *generation == lease.generation => {
                Ok(tenancy)
            }
            _ => Err(StaleLease { lease }),
        }
    }

    /// What `lease` stands for, to change.
    pub(crate) fn get_mut(&mut self, lease: Lease) -> Result<&mut Tenancy, StaleLease> {
        match self.slots.get_mut(lease.slot as usize) {
            Some(Slot { generation, state: State::Taken(tenancy), .. }) if *generation == lease.generation => {
                Ok(tenancy)
            }
            _ => Err(StaleLease { lease }),
        }
    }

    /// Takes a lease back; every copy of it is stale from now on.
    #[inline]
    pub(crate) fn remove(&mut self, lease: Lease) -> Result<(), StaleLease> {
        self.get(lease)?;
        let slot = &mut self.slots[lease.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Vacant { next: self.vacant };
        self.vacant = Some(lease.slot);
        Ok(())
    }

    /// Remembers where `lease` may be moved by itself. Bits of CPUs the machine does not have are dropped.
    #[inline]
    pub(crate) fn set_affinity(&mut self, lease: Lease, affinity: &CpuSet) {
        let words = affinity.words();
        let anywhere = words.len() >= self.present.len()
            && words.iter().zip(&self.present).all(|(word, present)| word & present == *present);
        let slot = &mut self.slots[lease.slot as usize];
        slot.reach = if anywhere { Reach::Anywhere } else { Reach::Listed };
        if slot.reach == Reach::Listed {
            let width = self.present.len();
            let stored = &mut self.affinities[lease.slot as usize * width..][..width];
            for (index, (stored, present)) in stored.iter_mut().zip(&self.present).enumerate() {
                *stored = words.get(index).copied().unwrap_or(0) & present;
            }
        }
    }

    /// Where `lease` may be moved by itself.
    pub(crate) fn affinity(&self, lease: Lease) -> CpuSet {
        let width = self.present.len();
        match self.slots[lease.slot as usize].reach {
            Reach::Anywhere => CpuSet::from_words(&self.present),
            Reach::Listed => CpuSet::from_words(&self.affinities[lease.slot as usize * width..][..width]),
        }
    }

    /// All leases, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Lease, &Tenancy)> {
        (0u32..).zip(&self.slots).filter_map(|(slot, entry)| match &entry.state {
            State::Taken(tenancy) => Some((Lease { slot, generation: entry.generation }, tenancy)),
            State::Vacant { .. } => None,
        })
    }

    /// What the leases stand for, to change.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tenancy> {
        self.slots.iter_mut().filter_map(|entry| match &mut entry.state {
            State::Taken(tenancy) => Some(tenancy),
            State::Vacant { .. } => None,
        })
    }
}
