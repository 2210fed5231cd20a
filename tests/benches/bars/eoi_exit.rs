//! Contenders of bar B1: the EOI-exit bitmap against counting alone, comparing alone, and working it out anew.

use std::hint::black_box;

use hypervisor_lib::delivery::apicv::EoiExitBitmap;
use vector_allocator::Vector;

use crate::floor::random_vectors;

/// vCPUs and physical CPUs of a large host.
const CPUS: usize = 1024;

fn vectors() -> Vec<Vector> {
    random_vectors()
        .into_iter()
        .map(|vector| Vector::new(u8::try_from(vector).expect("a byte")).expect("legal"))
        .collect()
}

/// A route that comes and the one that came 32 before it goes, on a bitmap of so many routes.
pub(crate) fn change(routes: usize) -> impl FnMut(u64) {
    let vectors = vectors();
    let mut bitmap = EoiExitBitmap::default();
    vectors.iter().cycle().take(routes).for_each(|vector| bitmap.add(*vector));
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            bitmap.add(vectors[next]);
            bitmap.remove(vectors[next]).expect("a route that was added");
            next = (next + 1) % vectors.len();
        }
        black_box(&bitmap);
    }
}

/// The least a change takes: a count up and down, and the bit.
pub(crate) fn count() -> impl FnMut(u64) {
    let vectors = random_vectors();
    let (mut counts, mut words) = ([0_u32; 256], [0_u64; 4]);
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            let vector = vectors[next];
            counts[vector] += 1;
            words[vector / 64] |= 1 << (vector % 64);
            black_box(&mut counts);
            counts[vector] -= 1;
            if counts[vector] == 0 {
                words[vector / 64] &= !(1 << (vector % 64));
            }
            next = (next + 1) % vectors.len();
        }
        black_box(&words);
    }
}

/// The bitmap of a vCPU out of so many routes, entries of I/O APICs as they are: level-triggered, and to this vCPU.
pub(crate) fn rebuild(routes: usize) -> impl FnMut(u64) {
    const LEVEL: u64 = 1 << 15;
    let entry = |(i, vector): (usize, usize)| vector as u64 | LEVEL | (i as u64 % 2) << 56;
    let entries: Vec<u64> = random_vectors().into_iter().enumerate().map(entry).take(routes).collect();
    move |operations| {
        for vcpu in 0..operations {
            let mut words = [0_u64; 4];
            for entry in black_box(&entries) {
                if entry & LEVEL != 0 && entry >> 56 == vcpu % 2 {
                    let vector = entry & 0xff;
                    words[vector as usize / 64] |= 1 << (vector % 64);
                }
            }
            black_box(words);
        }
    }
}

/// A random vCPU is entered on a random physical CPU, whose fields hold another one's bitmap.
pub(crate) fn load() -> impl FnMut(u64) {
    let bitmaps: Vec<EoiExitBitmap> = vectors()
        .chunks(4)
        .map(|vectors| {
            let mut bitmap = EoiExitBitmap::default();
            vectors.iter().for_each(|vector| bitmap.add(*vector));
            bitmap
        })
        .collect();
    let mut loaded = vec![[0; 4]; CPUS];
    let mut draw = pairs();
    move |operations| {
        for _ in 0..operations {
            let (vcpu, cpu) = draw();
            bitmaps[vcpu].load(&mut loaded[cpu], |field, value| {
                black_box((field, value));
            });
        }
        black_box(&loaded);
    }
}

/// The least that takes: four words compared, and copied if they differ.
pub(crate) fn compare() -> impl FnMut(u64) {
    // As far apart as the bitmaps, so that both meet the same caches.
    let mut bitmaps = vec![([0_u64; 4], [0_u32; 256]); CPUS];
    for (i, vector) in random_vectors().into_iter().enumerate() {
        bitmaps[i / 4].0[vector / 64] |= 1 << (vector % 64);
    }
    let mut loaded = vec![[0; 4]; CPUS];
    let mut draw = pairs();
    move |operations| {
        for _ in 0..operations {
            let (vcpu, cpu) = draw();
            for (field, (loaded, value)) in loaded[cpu].iter_mut().zip(bitmaps[vcpu].0).enumerate() {
                if *loaded != value {
                    *loaded = value;
                    black_box((field, value));
                }
            }
        }
        black_box(&loaded);
    }
}

fn pairs() -> impl FnMut() -> (usize, usize) {
    let mut state = 88_172_645_463_325_252_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 20) as usize % CPUS, (state >> 40) as usize % CPUS)
    }
}
