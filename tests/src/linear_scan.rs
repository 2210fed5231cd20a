//! The obvious way to spread vectors: look at every CPU, every time.
//!
//! It follows Linux's `irq_matrix` (`kernel/irq/matrix.c`) step by step with plain tables, so that it can be read next to
//! the original. It is the oracle of the `spread` policy's decisions and the baseline of its speed.

/// The lowest vector Linux gives out.
pub const FIRST_VECTOR: u8 = 0x20;
/// One more than the highest.
pub const END_VECTOR: u8 = 0xec;
/// The system-call gate, which is not given out.
pub const SYSCALL_VECTOR: u8 = 0x80;

/// One CPU's vectors.
#[derive(Clone, Debug)]
struct Cpu {
    online: bool,
    initialized: bool,
    /// As the kernel counts: a reservation changes it only while the CPU is online.
    available: i64,
    managed_allocated: u32,
    allocated: Bits,
    managed: Bits,
}

/// Vectors given out on the CPU with the most left, found by looking at all of them.
#[derive(Clone, Debug)]
pub struct LinearScan {
    given_out: Bits,
    cpus: Vec<Cpu>,
}

/// A CPU and a vector on it.
pub type Slot = (u32, u8);

/// A bit for each vector.
type Bits = [u64; 4];

/// The vectors given out at all.
fn given_out() -> Bits {
    let vectors = (FIRST_VECTOR..END_VECTOR).filter(|vector| *vector != SYSCALL_VECTOR);
    vectors.fold([0; 4], with)
}

fn with(mut bits: Bits, vector: u8) -> Bits {
    bits[usize::from(vector / 64)] |= 1 << (vector % 64);
    bits
}

fn without(mut bits: Bits, vector: u8) -> Bits {
    bits[usize::from(vector / 64)] &= !(1 << (vector % 64));
    bits
}

fn has(bits: Bits, vector: u8) -> bool {
    bits[usize::from(vector / 64)] >> (vector % 64) & 1 == 1
}

fn lowest(word: impl Fn(usize) -> u64) -> Option<u8> {
    let index = (0..4).find(|index| word(*index) != 0)?;
    u8::try_from(64 * index + word(index).trailing_zeros() as usize).ok()
}

/// The CPUs of a mask, ascending.
fn members(cpus: usize, mask: &[u64]) -> impl Iterator<Item = usize> {
    (0..cpus).filter(|cpu| mask.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1))
}

impl LinearScan {
    /// `cpus` CPUs, none online.
    #[must_use]
    pub fn new(cpus: u32) -> Self {
        let cpu = Cpu {
            online: false,
            initialized: false,
            available: 0,
            managed_allocated: 0,
            allocated: [0; 4],
            managed: [0; 4],
        };
        Self { given_out: given_out(), cpus: vec![cpu; cpus as usize] }
    }

    fn lowest_free(&self, cpu: usize) -> Option<u8> {
        let cpu = &self.cpus[cpu];
        lowest(|index| self.given_out[index] & !cpu.allocated[index] & !cpu.managed[index])
    }

    fn lowest_reserved(&self, cpu: usize) -> Option<u8> {
        let cpu = &self.cpus[cpu];
        lowest(|index| cpu.managed[index] & !cpu.allocated[index])
    }

    /// `irq_matrix_online`.
    pub fn online(&mut self, cpu: u32) {
        let count = |bits: Bits| bits.iter().map(|word| i64::from(word.count_ones())).sum::<i64>();
        let given_out = self.given_out;
        let cpu = &mut self.cpus[cpu as usize];
        if !cpu.initialized {
            cpu.available = count(given_out) - count(cpu.managed);
            cpu.initialized = true;
        }
        cpu.online = true;
    }

    /// `irq_matrix_offline`.
    pub fn offline(&mut self, cpu: u32) {
        self.cpus[cpu as usize].online = false;
    }

    /// `irq_matrix_alloc`.
    pub fn allocate(&mut self, mask: &[u64]) -> Option<Slot> {
        let mut best = None;
        let mut most = 0;
        for cpu in members(self.cpus.len(), mask) {
            if self.cpus[cpu].online && self.cpus[cpu].available > most {
                (best, most) = (Some(cpu), self.cpus[cpu].available);
            }
        }
        let cpu = best?;
        let vector = self.lowest_free(cpu)?;
        self.cpus[cpu].allocated = with(self.cpus[cpu].allocated, vector);
        self.cpus[cpu].available -= 1;
        Some((u32::try_from(cpu).ok()?, vector))
    }

    /// `irq_matrix_free` of a vector that is not managed.
    pub fn free(&mut self, (cpu, vector): Slot) {
        let cpu = &mut self.cpus[cpu as usize];
        assert!(has(cpu.allocated, vector), "vector {vector:#x} is not allocated");
        cpu.allocated = without(cpu.allocated, vector);
        cpu.available += 1;
    }

    /// `irq_matrix_reserve_managed`; whether every CPU of the mask had a vector to spare.
    pub fn reserve_managed(&mut self, mask: &[u64]) -> bool {
        let cpus: Vec<usize> = members(self.cpus.len(), mask).collect();
        if cpus.iter().any(|cpu| self.lowest_free(*cpu).is_none()) {
            return false;
        }
        for cpu in cpus {
            if let Some(vector) = self.lowest_free(cpu) {
                self.cpus[cpu].managed = with(self.cpus[cpu].managed, vector);
                self.cpus[cpu].available -= i64::from(self.cpus[cpu].online);
            }
        }
        true
    }

    /// `irq_matrix_remove_managed`; whether every CPU of the mask had a reservation to drop.
    pub fn remove_managed(&mut self, mask: &[u64]) -> bool {
        let cpus: Vec<usize> = members(self.cpus.len(), mask).collect();
        if cpus.iter().any(|cpu| self.lowest_reserved(*cpu).is_none()) {
            return false;
        }
        for cpu in cpus {
            if let Some(vector) = self.lowest_reserved(cpu) {
                self.cpus[cpu].managed = without(self.cpus[cpu].managed, vector);
                self.cpus[cpu].available += i64::from(self.cpus[cpu].online);
            }
        }
        true
    }

    /// `irq_matrix_alloc_managed`.
    pub fn allocate_managed(&mut self, mask: &[u64]) -> Option<Slot> {
        let mut best = None;
        let mut fewest = u32::MAX;
        for cpu in members(self.cpus.len(), mask) {
            if self.cpus[cpu].online && self.cpus[cpu].managed_allocated <= fewest {
                (best, fewest) = (Some(cpu), self.cpus[cpu].managed_allocated);
            }
        }
        let cpu = best?;
        let vector = self.lowest_reserved(cpu)?;
        self.cpus[cpu].allocated = with(self.cpus[cpu].allocated, vector);
        self.cpus[cpu].managed_allocated += 1;
        Some((u32::try_from(cpu).ok()?, vector))
    }

    /// `irq_matrix_free` of a managed vector.
    pub fn free_managed(&mut self, (cpu, vector): Slot) {
        let cpu = &mut self.cpus[cpu as usize];
        assert!(has(cpu.allocated, vector), "vector {vector:#x} is not allocated");
        cpu.allocated = without(cpu.allocated, vector);
        cpu.managed_allocated -= 1;
    }
}
