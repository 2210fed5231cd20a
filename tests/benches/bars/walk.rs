//! What W1 asks of memory whoever serves it: the way from a random lease to its vector, and no arbitration at all.

use std::hint::black_box;

use carillon_tests::Xorshift;

use crate::arbiter::SEED;
use crate::arbiter::index;
use crate::arbiter::leases;

/// The caller's handles, a record for each, and a set of vectors for each CPU, as large as an allocator's.
pub(crate) struct Walk {
    handles: Vec<[u32; 2]>,
    /// Generation, CPU and vector in the size of a lease's slot.
    records: Vec<[u32; 4]>,
    cpus: Vec<[u64; 8]>,
    random: Xorshift,
    zero: usize,
}

impl Walk {
    pub(crate) fn new(cpus: u32, occupancy: u32) -> Self {
        let count = leases(cpus, occupancy).max(1);
        // As leases lie on CPUs after some time: anyhow.
        let mut random = Xorshift::new(SEED);
        let mut below = |bound: usize| u32::try_from(index(&mut random, bound)).expect("a bound of 32 bits");
        let records = (0..count).map(|_| [0, below(cpus as usize), below(256), 0]).collect();
        let cpus = vec![[0; 8]; cpus as usize];
        Self { handles: (0..count).map(|slot| [slot, 0]).collect(), records, cpus, random, zero: black_box(0) }
    }

    /// Picks random leases and ends and renews each: a handle, its record, its CPU. One after the other, because an
    /// allocator has several hundred instructions between two picks, which is as far as a processor looks ahead.
    pub(crate) fn pick(&mut self, operations: u64) {
        let mut last = 0;
        for _ in 0..operations {
            let pick = index(&mut self.random, self.handles.len()) + (last & self.zero);
            let [slot, generation] = self.handles[pick];
            let record = &mut self.records[slot as usize];
            assert_eq!(record[0], generation, "a handle is of its record");
            record[0] = generation.wrapping_add(1);
            self.handles[pick] = [slot, record[0]];
            let cpu = &mut self.cpus[record[1] as usize];
            cpu[record[2] as usize / 64] ^= 1 << (record[2] % 64);
            last = usize::from(cpu[record[2] as usize / 64] == 0);
        }
        black_box(last);
    }
}
