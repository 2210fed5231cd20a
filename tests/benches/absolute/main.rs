//! Absolute times, for the curious: what a promise rests on is a ratio, and stands in the bars.

#[path = "../bars/arbiter.rs"]
mod arbiter;
mod engine;
mod vectors;

use criterion::criterion_group;
use criterion::criterion_main;

criterion_group!(benches, engine::hold, vectors::workloads);
criterion_main!(benches);
