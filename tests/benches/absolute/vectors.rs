//! The workloads of vector allocation, from one CPU to a thousand, empty to almost full.

use criterion::BenchmarkId;
use criterion::Criterion;
use vector_allocator::Policy;

use crate::arbiter::Host;

/// CPUs of the hosts.
const CPUS: [u32; 5] = [1, 4, 64, 256, 1024];
/// The fill of the hosts, %, where it is not the subject.
const HALF: u32 = 50;

/// A workload's name and the function that carries out so many of its operations.
type Workload = (&'static str, fn(&mut Host, u64));

/// The four workloads at every size, and the first at every fill.
pub(crate) fn workloads(criterion: &mut Criterion) {
    let workloads: [Workload; 4] = [("w1", Host::w1), ("w2", Host::w2), ("w3", Host::w3), ("w4", Host::w4)];
    let mut group = criterion.benchmark_group("vectors");
    for (name, workload) in workloads {
        for cpus in CPUS {
            let mut host = Host::new(Policy::Spread, cpus, HALF);
            group.bench_function(BenchmarkId::new(name, cpus), |bencher| bencher.iter(|| workload(&mut host, 1)));
        }
    }
    for percent in [0, 90, 99] {
        let mut host = Host::new(Policy::Spread, 64, percent);
        group.bench_function(BenchmarkId::new("w1-64-filled", percent), |bencher| bencher.iter(|| host.w1(1)));
    }
    for (name, policy) in [("w1-64-below-dom0", Policy::BelowDom0), ("w1-64-xen-cursor", Policy::XenCursor)] {
        let mut host = Host::new(policy, 64, HALF);
        group.bench_function(name, |bencher| bencher.iter(|| host.w1(1)));
    }
    group.finish();
}
