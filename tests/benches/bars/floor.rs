//! The least a local APIC can do: registers in one page, sixteen bytes apart as the hardware has them, found by scanning.
//! And the least it takes to reach it from another thread: the protocol of a posted-interrupt descriptor.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

const REGISTERS: usize = 8;
const STRIDE: usize = 4;

#[derive(Default)]
struct ApicPage {
    pending: [u32; REGISTERS * STRIDE],
    in_service: [u32; REGISTERS * STRIDE],
}

impl ApicPage {
    fn highest(registers: &[u32; REGISTERS * STRIDE]) -> Option<usize> {
        let register = (0..REGISTERS).rev().find(|register| registers[register * STRIDE] != 0)?;
        let bit = u32::BITS - 1 - registers[register * STRIDE].leading_zeros();
        Some(register * 32 + bit as usize)
    }

    fn flip(registers: &mut [u32; REGISTERS * STRIDE], vector: usize) {
        registers[vector / 32 * STRIDE] ^= 1 << (vector % 32);
    }

    /// Inject, deliver if the class allows, and end.
    fn serve(&mut self, vector: usize) {
        Self::flip(&mut self.pending, vector);
        self.deliver_and_end();
    }

    fn deliver_and_end(&mut self) {
        let class = Self::highest(&self.in_service).map_or(0, |vector| vector >> 4);
        if let Some(next) = Self::highest(&self.pending).filter(|next| next >> 4 > class) {
            Self::flip(&mut self.pending, next);
            Self::flip(&mut self.in_service, next);
        }
        if let Some(served) = Self::highest(&self.in_service) {
            Self::flip(&mut self.in_service, served);
        }
    }
}

/// A posted-interrupt descriptor, as plain as can be.
#[derive(Default)]
struct Descriptor {
    pir: [AtomicU64; 4],
    on: AtomicBool,
}

impl Descriptor {
    /// Whether the owner has to be notified.
    fn post(&self, vector: usize) -> bool {
        self.pir[vector / 64].fetch_or(1 << (vector % 64), Ordering::SeqCst);
        !self.on.swap(true, Ordering::SeqCst)
    }

    fn sync(&self, page: &mut ApicPage) {
        if !self.on.swap(false, Ordering::SeqCst) {
            return;
        }
        for (i, word) in self.pir.iter().enumerate() {
            if word.load(Ordering::Relaxed) != 0 {
                let [a, b, c, d, e, f, g, h] = word.swap(0, Ordering::SeqCst).to_le_bytes();
                page.pending[2 * i * STRIDE] |= u32::from_le_bytes([a, b, c, d]);
                page.pending[(2 * i + 1) * STRIDE] |= u32::from_le_bytes([e, f, g, h]);
            }
        }
    }
}

/// 4096 random vectors from 0x20 to 0xfe.
pub(crate) fn random_vectors() -> Vec<usize> {
    let mut state = 88_172_645_463_325_252_u64;
    let draw = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        0x20 + (state >> 16) as usize % (0xff - 0x20)
    };
    (0..4096).map(draw).collect()
}

/// Workload A1: the random vectors, one after the other, each injected, delivered and ended.
pub(crate) fn local_apic() -> impl FnMut(u64) {
    let vectors = random_vectors();
    let mut page = ApicPage::default();
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            page.serve(vectors[next]);
            next = (next + 1) % vectors.len();
        }
        std::hint::black_box(&page);
    }
}

/// Workload A2: the random vectors, one after the other, each posted, synced, delivered and ended.
pub(crate) fn posted() -> impl FnMut(u64) {
    let vectors = random_vectors();
    let mut page = ApicPage::default();
    let descriptor = Descriptor::default();
    let (mut next, mut notified) = (0, 0_u64);
    move |operations| {
        for _ in 0..operations {
            notified += u64::from(descriptor.post(vectors[next]));
            descriptor.sync(&mut page);
            page.deliver_and_end();
            next = (next + 1) % vectors.len();
        }
        std::hint::black_box((&page, notified));
    }
}
