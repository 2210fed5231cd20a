//! Absolute times, for the curious: what a promise rests on is a ratio, and stands in the bars.

mod engine;

use criterion::criterion_group;
use criterion::criterion_main;

criterion_group!(benches, engine::hold);
criterion_main!(benches);
