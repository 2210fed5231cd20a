//! The published workloads of vector allocation, by linear scan.

use std::hint::black_box;

use carillon_tests::LinearScan;
use carillon_tests::Slot;
use carillon_tests::Xorshift;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;

use crate::arbiter::SEED;
use crate::arbiter::index;
use crate::arbiter::leases;

/// The same host under the linear scan.
pub(crate) struct Scan {
    scan: LinearScan,
    live: Vec<Slot>,
    all: CpuSet,
    each: Vec<CpuSet>,
    random: Xorshift,
}

impl Scan {
    pub(crate) fn new(cpus: u32, occupancy: u32) -> Self {
        let mut scan = LinearScan::new(cpus);
        (0..cpus).for_each(|cpu| scan.online(cpu));
        let all = CpuSet::first_n(cpus);
        let each = (0..cpus).map(|cpu| CpuSet::single(CpuId(cpu))).collect();
        let mut host = Self { scan, live: Vec::new(), all, each, random: Xorshift::new(SEED) };
        (0..leases(cpus, occupancy)).for_each(|_| host.lease());
        host
    }

    fn lease(&mut self) {
        // As many draws as ours makes, so that the streams stay together.
        black_box(self.random.next());
        let slot = self.scan.allocate(self.all.words());
        self.live.push(slot.expect("the occupancy leaves room"));
    }

    pub(crate) fn w1(&mut self, operations: u64) {
        for _ in 0..operations {
            self.lease();
            let slot = self.live.swap_remove(index(&mut self.random, self.live.len()));
            self.scan.free(slot);
        }
    }

    pub(crate) fn w2(&mut self, operations: u64) {
        for _ in 0..operations {
            black_box(self.random.next());
            let cpu = index(&mut self.random, self.each.len());
            let slot = self.scan.allocate(self.each[cpu].words()).expect("the occupancy leaves room");
            self.scan.free(black_box(slot));
        }
    }

    pub(crate) fn w3(&mut self, operations: u64) {
        for _ in 0..operations {
            let which = index(&mut self.random, self.live.len());
            let cpu = index(&mut self.random, self.each.len());
            if self.live[which].0 as usize == cpu {
                continue;
            }
            if let Some(slot) = self.scan.allocate(self.each[cpu].words()) {
                self.scan.free(std::mem::replace(&mut self.live[which], slot));
            }
        }
    }

    pub(crate) fn w4(&mut self, operations: u64) {
        for _ in 0..operations {
            assert!(self.scan.reserve_managed(self.all.words()), "the occupancy leaves room on every CPU");
            assert!(self.scan.remove_managed(self.all.words()), "it was reserved just now");
        }
    }
}
