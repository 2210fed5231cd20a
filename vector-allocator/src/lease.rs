//! Handles of what was given out, and the slab behind them.

use core::fmt;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::CpuId;
use crate::CpuSet;
use crate::Owner;
use crate::Rank;
use crate::SourceKind;
use crate::Vector;
use crate::seat::Moving;
use crate::seat::Seat;
use crate::slot::Plain;
use crate::slot::Reach;
use crate::slot::Slot;
use crate::slot::State;

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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tenancy<'a> {
    /// A vector of the pool.
    Seated(Tenant),
    /// A vector reserved on every CPU.
    Everywhere(&'a Notified),
}

/// Holder of a vector of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// All leases: a slab of small slots that carry a generation. Whatever most leases do not have stands beside it, so that
/// one picked out of two hundred thousand costs a sixteenth of a kilobyte of cache and not more.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    slots: Vec<Slot>,
    /// Slots to be used again, the latest first.
    vacant: Vec<u32>,
    /// CPUs of a place.
    width: u32,
    present: Vec<u64>,
    /// Tenants that fit into no slot; it ends with the last that was ever needed.
    wide: Vec<Option<Tenant>>,
    /// The few leases that are everywhere, by slot.
    notified: BTreeMap<u32, Notified>,
    /// Affinities of one CPU by slot; it ends with the last that was ever needed.
    only: Vec<CpuId>,
    /// Affinities of several CPUs by slot, a bit for each; it ends with the last that was ever needed.
    affinities: Vec<u64>,
}

impl Leases {
    /// No leases, on a machine of `cpus` CPUs, `width` of them to a place.
    pub(crate) fn new(cpus: u32, width: u32) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            width,
            present: CpuSet::first_n(cpus).words().to_vec(),
            wide: Vec::new(),
            notified: BTreeMap::new(),
            only: Vec::new(),
            affinities: Vec::new(),
        }
    }

    /// Hands out a lease of a vector of the pool.
    #[inline(always)]
    pub(crate) fn insert(&mut self, tenant: &Tenant, affinity: &CpuSet) -> Lease {
        let slot = self.occupy();
        let is_anywhere = self.is_anywhere(affinity);
        let entry = &mut self.slots[slot as usize];
        let lease = Lease { slot, generation: entry.generation };
        match Plain::of(tenant, self.width) {
            Some(plain) if is_anywhere => {
                *entry = Slot { plain, state: State::Plain, reach: Reach::Anywhere, ..*entry };
            }
            _ => {
                self.store(slot, tenant);
                self.set_affinity(lease, affinity);
            }
        }
        lease
    }

    /// Hands out a lease of a vector reserved on every CPU.
    pub(crate) fn insert_everywhere(&mut self, notified: Notified, affinity: &CpuSet) -> Lease {
        let slot = self.occupy();
        self.notified.insert(slot, notified);
        let entry = &mut self.slots[slot as usize];
        entry.state = State::Everywhere;
        let lease = Lease { slot, generation: entry.generation };
        self.set_affinity(lease, affinity);
        lease
    }

    /// A vacant slot, which whoever calls fills.
    #[inline(always)]
    fn occupy(&mut self) -> u32 {
        match self.vacant.pop() {
            Some(slot) => slot,
            None => self.grow(),
        }
    }

    /// Adds a slot.
    #[cold]
    fn grow(&mut self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a lease holds a vector, and there are 240 on 4096 CPUs")]
        let slot = self.slots.len() as u32;
        self.slots.push(Slot::VACANT);
        slot
    }

    #[inline(always)]
    fn store(&mut self, slot: u32, tenant: &Tenant) {
        match Plain::of(tenant, self.width) {
            Some(plain) => {
                let slot = &mut self.slots[slot as usize];
                slot.plain = plain;
                slot.state = State::Plain;
            }
            None => self.store_wide(slot, tenant),
        }
    }

    #[inline(always)]
    fn store_wide(&mut self, slot: u32, tenant: &Tenant) {
        let index = slot as usize;
        self.slots[index].state = State::Wide;
        match self.wide.get_mut(index) {
            Some(entry) => *entry = Some(*tenant),
            None => {
                self.wide.resize(index, None);
                self.wide.push(Some(*tenant));
            }
        }
    }

    /// What the slot of a lease in force holds.
    #[inline(always)]
    fn tenancy(&self, slot: u32) -> Option<Tenancy<'_>> {
        let entry = &self.slots[slot as usize];
        match entry.state {
            State::Plain => Some(Tenancy::Seated(entry.plain.tenant(self.width))),
            State::Wide => self.wide.get(slot as usize).copied().flatten().map(Tenancy::Seated),
            State::Everywhere => self.notified.get(&slot).map(Tenancy::Everywhere),
            State::Vacant => None,
        }
    }

    /// Whether `lease` is the one its slot was last given out on; it may have been taken back.
    #[inline(always)]
    fn is_latest(&self, lease: Lease) -> bool {
        self.slots.get(lease.slot as usize).is_some_and(|slot| slot.generation == lease.generation)
    }

    /// The tenant of `lease` if it is a plain one.
    #[inline(always)]
    pub(crate) fn plain(&self, lease: Lease) -> Option<Plain> {
        let slot = self.slots.get(lease.slot as usize)?;
        (slot.generation == lease.generation && slot.state == State::Plain).then_some(slot.plain)
    }

    /// What `lease` stands for.
    #[inline(always)]
    pub(crate) fn get(&self, lease: Lease) -> Result<Tenancy<'_>, StaleLease> {
        let tenancy = if self.is_latest(lease) { self.tenancy(lease.slot) } else { None };
        tenancy.ok_or(StaleLease { lease })
    }

    /// Changes what a lease of a vector of the pool stands for.
    #[inline(always)]
    pub(crate) fn set(&mut self, lease: Lease, tenant: &Tenant) -> Result<(), StaleLease> {
        let entry = self.slots.get(lease.slot as usize).filter(|entry| entry.generation == lease.generation);
        match entry.map(|entry| entry.state) {
            Some(State::Plain | State::Wide) => self.store(lease.slot, tenant),
            Some(State::Vacant | State::Everywhere) | None => return Err(StaleLease { lease }),
        }
        Ok(())
    }

    /// The holder of a vector reserved on every CPU, to change; none if `lease` is no such lease.
    pub(crate) fn notified_mut(&mut self, lease: Lease) -> Option<&mut Notified> {
        self.get(lease).ok()?;
        self.notified.get_mut(&lease.slot)
    }

    /// Takes a lease in force back; every copy of it is stale from now on.
    #[inline(always)]
    pub(crate) fn end(&mut self, lease: Lease) {
        let slot = &mut self.slots[lease.slot as usize];
        if slot.state == State::Everywhere {
            self.notified.remove(&lease.slot);
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Vacant;
        self.vacant.push(lease.slot);
    }

    /// Remembers where `lease` may be moved by itself. Bits of CPUs the machine does not have are dropped.
    #[inline(always)]
    pub(crate) fn set_affinity(&mut self, lease: Lease, affinity: &CpuSet) {
        let reach = match self.is_anywhere(affinity) {
            true => Reach::Anywhere,
            false => self.keep_affinity(lease.slot as usize, affinity.words()),
        };
        self.slots[lease.slot as usize].reach = reach;
    }

    #[inline(always)]
    fn is_anywhere(&self, affinity: &CpuSet) -> bool {
        let (present, words) = (&self.present, affinity.words());
        // Without a branch per word: this is done for every lease, and the mask is nearly always all CPUs.
        let missing = present.iter().zip(words).fold(0, |missing, (present, word)| missing | (present & !word));
        missing == 0 && words.len() >= present.len()
    }

    /// Keeps an affinity that does not have all CPUs beside its slot. One CPU takes four bytes; the words of all CPUs would
    /// make the slots of a large host the least of its memory.
    #[inline]
    fn keep_affinity(&mut self, slot: usize, words: &[u64]) -> Reach {
        if let Some(cpu) = only_member(words, &self.present) {
            if self.only.len() <= slot {
                self.only.resize(slot + 1, CpuId::BOOT);
            }
            self.only[slot] = cpu;
            return Reach::Only;
        }
        let (width, first) = (self.present.len(), slot * self.present.len());
        if self.affinities.len() < first + width {
            self.affinities.resize(first + width, 0);
        }
        let stored = &mut self.affinities[first..][..width];
        for (index, (stored, present)) in stored.iter_mut().zip(&self.present).enumerate() {
            *stored = words.get(index).copied().unwrap_or(0) & present;
        }
        Reach::Listed
    }

    /// Where `lease` may be moved by itself.
    pub(crate) fn affinity(&self, lease: Lease) -> CpuSet {
        let width = self.present.len();
        match self.slots[lease.slot as usize].reach {
            Reach::Anywhere => CpuSet::from_words(&self.present),
            Reach::Only => CpuSet::single(self.only[lease.slot as usize]),
            Reach::Listed => CpuSet::from_words(&self.affinities[lease.slot as usize * width..][..width]),
        }
    }

    /// All leases, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Lease, Tenancy<'_>)> {
        (0u32..).zip(&self.slots).filter_map(|(slot, entry)| {
            let tenancy = self.tenancy(slot)?;
            Some((Lease { slot, generation: entry.generation }, tenancy))
        })
    }

    /// The leases that are moving, by slot.
    pub(crate) fn moving(&self) -> Vec<(Lease, Tenant)> {
        (0u32..)
            .zip(&self.wide)
            .filter_map(|(slot, tenant)| {
                let entry = &self.slots[slot as usize];
                let tenant = tenant.filter(|tenant| entry.state == State::Wide && tenant.moving.is_some())?;
                Some((Lease { slot, generation: entry.generation }, tenant))
            })
            .collect()
    }
}

/// The member of `words` that is present, if there is exactly one.
#[inline]
fn only_member(words: &[u64], present: &[u64]) -> Option<CpuId> {
    let mut members = (0u32..).zip(words.iter().zip(present).map(|(word, present)| word & present));
    let (index, word) = members.find(|(_, word)| *word != 0)?;
    let is_only = word.is_power_of_two() && members.all(|(_, word)| word == 0);
    is_only.then(|| CpuId(index * u64::BITS + word.trailing_zeros()))
}

#[cfg(test)]
mod tests {
    use super::Lease;
    use super::Leases;
    use super::StaleLease;
    use super::Tenancy;
    use super::Tenant;
    use crate::CpuId;
    use crate::CpuSet;
    use crate::Owner;
    use crate::Rank;
    use crate::SourceKind;
    use crate::Vector;
    use crate::seat::Claim;
    use crate::seat::PlaceId;
    use crate::seat::Seat;
    use crate::seat::Standing;

    /// A tenant of the first CPU; a wide one if it came out of a reservation.
    fn tenant(claim: Claim) -> Tenant {
        let seat = Seat { place: PlaceId(0), vector: Vector::LOWEST, claim, standing: Standing::Ordered, members: 1 };
        let (owner, kind) = (Owner::Dom0, SourceKind::EdgeMaskable);
        Tenant { owner, kind, rank: Rank::Host, target: CpuId(0), seat, moving: None }
    }

    #[test]
    fn a_copy_of_an_ended_lease_stays_stale_when_its_slot_is_given_out_again() {
        let all = CpuSet::first_n(2);
        for first in [Claim::Free, Claim::Managed] {
            for second in [Claim::Free, Claim::Managed] {
                let mut leases = Leases::new(2, 1);
                let old = leases.insert(&tenant(first), &all);
                leases.end(old);
                let stale = StaleLease { lease: old };
                assert_eq!(leases.set(old, &tenant(second)), Err(stale), "it has ended");
                let foreign = Lease { generation: old.generation + 1, ..old };
                assert!(leases.get(foreign).is_err() && leases.plain(foreign).is_none());
                assert!(leases.set(foreign, &tenant(second)).is_err(), "another allocator's: nobody has the slot");
                let new = leases.insert(&tenant(second), &all);
                assert_eq!(new.slot, old.slot);
                assert!(leases.plain(old).is_none());
                assert!(leases.get(old).is_err_and(|error| error == stale));
                assert_eq!(leases.set(old, &tenant(first)), Err(stale), "another has its slot");
                assert!(matches!(leases.get(new), Ok(Tenancy::Seated(found)) if found == tenant(second)));
            }
        }
    }

    #[test]
    fn an_affinity_is_kept_however_few_words_it_has() {
        let mut leases = Leases::new(130, 1);
        let ends = [CpuId(0), CpuId(129)].into_iter().collect();
        let one = |cpu| CpuSet::single(CpuId(cpu));
        let masks = [CpuSet::first_n(64), CpuSet::first_n(130), CpuSet::new(), one(129), one(0), ends, one(64)];
        for mask in &masks {
            let lease = leases.insert(&tenant(Claim::Free), mask);
            assert_eq!(leases.affinity(lease), *mask);
            for other in &masks {
                leases.set_affinity(lease, other);
                assert_eq!(leases.affinity(lease), *other);
            }
        }
        let beyond = leases.insert(&tenant(Claim::Free), &CpuSet::first_n(200));
        assert_eq!(leases.affinity(beyond), CpuSet::first_n(130), "CPUs that are not there are dropped");
        let one_is_there = [CpuId(3), CpuId(130), CpuId(400)].into_iter().collect();
        leases.set_affinity(beyond, &one_is_there);
        assert_eq!(leases.affinity(beyond), one(3), "CPUs that are not there are dropped");
    }
}
