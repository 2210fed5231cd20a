//! The least a local APIC can do: registers in one page, sixteen bytes apart as the hardware has them, found by scanning.

const REGISTERS: usize = 8;
const STRIDE: usize = 4;

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

/// Workload A1: random vectors from 0x20 to 0xfe, one after the other, each injected, delivered and ended.
pub(crate) fn local_apic() -> impl FnMut(u64) {
    let mut state = 88_172_645_463_325_252_u64;
    let vectors: Vec<usize> = (0..4096)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            0x20 + (state >> 16) as usize % (0xff - 0x20)
        })
        .collect();
    let mut page = ApicPage { pending: [0; REGISTERS * STRIDE], in_service: [0; REGISTERS * STRIDE] };
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            page.serve(vectors[next]);
            next = (next + 1) % vectors.len();
        }
        std::hint::black_box(&page);
    }
}
