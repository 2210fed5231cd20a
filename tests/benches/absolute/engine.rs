//! The timing wheel in the hold model: so many events wait, and each one popped is scheduled again.

use carillon_sim::Wheel;
use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;

/// An event popped and scheduled again, among few and among many.
pub(crate) fn hold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel/hold");
    group.throughput(Throughput::Elements(1));
    for pending in [1u32, 16, 256, 4096, 65536] {
        let mut wheel = Wheel::new();
        let mut distance = 1u64;
        // Marsaglia's xorshift64 (13, 7, 17): distances of 1 to 2048 ns at the cost of a nanosecond.
        let mut draw = move || {
            distance ^= distance << 13;
            distance ^= distance >> 7;
            distance ^= distance << 17;
            1 + distance % 2048
        };
        (0..pending).for_each(|event| wheel.schedule(draw(), event));
        group.bench_function(BenchmarkId::from_parameter(pending), |bencher| {
            bencher.iter(|| {
                let (now, event) = wheel.pop().expect("every event popped is scheduled again");
                wheel.schedule(now + draw(), event);
                now
            });
        });
    }
    group.finish();
}
