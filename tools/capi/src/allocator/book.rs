//! An arbiter with the numbers its leases have outside.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use vector_allocator::CpuId;
use vector_allocator::Lease;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorSet;

use super::types::Evacuee;
use super::types::Fate;
use crate::status::Failure;
use crate::status::Status;

/// An arbiter and the numbers of its leases. A number is one lease's of one arbiter's for good, so that a stale one, or one
/// of another arbiter, is found out.
pub(super) struct Book {
    pub(super) arbiter: VectorAllocator,
    leases: BTreeMap<u64, Lease>,
    numbers: BTreeMap<Lease, u64>,
    /// What became of the leases of the CPU that was removed last.
    pub(super) evacuees: Vec<Evacuee>,
}

impl Book {
    pub(super) fn new(arbiter: VectorAllocator) -> Self {
        Self { arbiter, leases: BTreeMap::new(), numbers: BTreeMap::new(), evacuees: Vec::new() }
    }

    /// Gives a lease a number.
    pub(super) fn enter(&mut self, lease: Lease) -> u64 {
        /// 2⁶⁴ leases are more than any process gives out.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.leases.insert(number, lease);
        self.numbers.insert(lease, number);
        number
    }

    /// The lease of a number that may be anything.
    pub(super) fn lease(&self, number: u64) -> Result<Lease, Failure> {
        let stale =
            || Failure::new(Status::BadHandle, format!("lease {number} is none of this allocator's, or was released"));
        self.leases.get(&number).copied().ok_or_else(stale)
    }

    pub(super) fn release(&mut self, number: u64) -> Result<(), Failure> {
        let lease = self.lease(number)?;
        self.arbiter.release(lease)?;
        self.leases.remove(&number);
        self.numbers.remove(&lease);
        Ok(())
    }

    /// Takes a CPU out of use and keeps the list of what became of its leases; says how long it is.
    pub(super) fn take_offline(&mut self, cpu: CpuId, pending: &VectorSet) -> Result<usize, Failure> {
        let evacuation = self.arbiter.take_offline(cpu, pending)?;
        let entry = |lease: &Lease, fate, vector, cpu| Evacuee {
            lease: self.numbers.get(lease).copied().unwrap_or(0),
            fate: fate as u32,
            vector,
            cpu,
        };
        let moved = evacuation.moved.iter().filter_map(|lease| {
            let placement = self.arbiter.placement(*lease).ok()?;
            Some(entry(lease, Fate::Moved, u32::from(placement.vector.number()), placement.target.0))
        });
        let stranded = evacuation.stranded.iter().map(|lease| entry(lease, Fate::Stranded, 0, 0));
        let forwards = evacuation.forwards.iter();
        let forwards = forwards
            .map(|forward| entry(&forward.lease, Fate::Forward, u32::from(forward.vector.number()), forward.to.0));
        self.evacuees = moved.chain(stranded).chain(forwards).collect();
        Ok(self.evacuees.len())
    }
}
