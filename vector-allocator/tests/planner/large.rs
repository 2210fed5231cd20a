//! Plans for hosts of 1024 CPUs, and for crowded CPUs.

use proptest::prelude::ProptestConfig;
use proptest::proptest;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Goal;
use vector_allocator::IoApicAck;
use vector_allocator::Optimality;
use vector_allocator::Owner;
use vector_allocator::SourceKind;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;
use vector_allocator::inversions;
use vector_allocator::plan;

use crate::hosts::GUEST;
use crate::hosts::cpus;
use crate::hosts::source;

const CPUS: u32 = 1024;

fn host(model: DestinationModel, sources: Vec<AssignedSource>) -> Assignment {
    Assignment {
        layout: VectorLayout::xen(XenLayout::default()),
        model,
        online: CpuSet::first_n(CPUS),
        ioapic_ack: IoApicAck::New,
        sources,
    }
}

/// A number that looks random, the same every time (the finalizer of SplitMix64).
fn scrambled(index: u32) -> u64 {
    let mut z = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Sources of either side on vectors 0x31 to 0x7f and 0x83 and up, `per_cpu` of them on each CPU that is a multiple of
/// `stride`; `on` says where a vector of such a CPU is taken.
fn mixed(per_cpu: u32, stride: u32, on: impl Fn(u32) -> CpuSet) -> Vec<AssignedSource> {
    let leasable: Vec<u8> = (0x31..=0xef).filter(|number| ![0x80, 0x82].contains(number)).collect();
    let mut sources = Vec::new();
    for cpu in (0..CPUS).step_by(stride as usize) {
        for slot in 0..per_cpu {
            let id = cpu * 256 + slot;
            let dice = scrambled(id);
            let owner = if dice.is_multiple_of(4) { GUEST } else { Owner::Dom0 };
            let kind = if dice.is_multiple_of(32) { SourceKind::Level } else { SourceKind::EdgeMaskable };
            let number = leasable[(slot as usize * 73 + cpu as usize) % leasable.len()];
            let one = source(id, owner, kind, number, &[cpu]);
            sources.push(AssignedSource { holders: on(cpu), ..one });
        }
    }
    sources
}

#[test]
fn a_host_of_1024_cpus_and_100_000_pinned_sources_is_mended_entirely() {
    let host = host(DestinationModel::Physical, mixed(98, 1, |cpu| cpus(&[cpu])));
    assert!(host.sources.len() > 100_000);
    assert!(inversions(&host).take(1_000_000).count() == 1_000_000);
    let plan = plan(&host, &Goal::default());
    assert!(plan.remaining.is_empty());
    assert_eq!(inversions(&plan.apply(&host)).count(), 0);
    assert_eq!(plan.optimality, Optimality::Proven);
}

#[test]
fn on_a_host_of_1024_roaming_cpus_what_pins_cannot_end_is_told_as_a_lottery() {
    let mut sources = mixed(98, 1, |cpu| cpus(&[cpu]));
    for source in &mut sources {
        source.reachable = CpuSet::first_n(CPUS);
    }
    let host = host(DestinationModel::Physical, sources);
    let plan = plan(&host, &Goal::default());
    let lotteries: usize = plan.remaining.iter().map(vector_allocator::Remaining::count).sum();
    assert!(lotteries > 1_000_000_000, "{lotteries}");
    assert!(
        plan.remaining.iter().all(|remaining| remaining.because[0].to_string().contains("draws another elsewhere"))
    );
}

#[test]
fn a_host_of_64_x2apic_clusters_is_mended_entirely() {
    let cluster = |cpu: u32| (cpu..cpu + 16).map(vector_allocator::CpuId).collect::<CpuSet>();
    let mut sources = mixed(150, 16, cluster);
    for source in &mut sources {
        source.reachable.clone_from(&source.holders);
    }
    let host = host(DestinationModel::X2APIC_CLUSTER, sources);
    let plan = plan(&host, &Goal::default());
    assert!(plan.remaining.is_empty());
    assert_eq!(inversions(&plan.apply(&host)).count(), 0);
    assert_eq!(plan.optimality, Optimality::Proven);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_crowded_cpu_keeps_no_inversion_while_vectors_are_free(seed in 0u32..1_000_000, free in 1u32..12) {
        let mut sources = mixed(187 - free, CPUS, |cpu| cpus(&[cpu]));
        for source in &mut sources {
            let dice = scrambled(source.id.0.wrapping_add(seed));
            source.owner = if dice.is_multiple_of(3) { GUEST } else { Owner::Dom0 };
            source.binders = vec![source.owner];
            source.kind = SourceKind::EdgeMaskable;
        }
        let host = host(DestinationModel::Physical, sources);
        let plan = plan(&host, &Goal::default());
        let left = inversions(&plan.apply(&host)).count();
        assert_eq!((left, plan.optimality), (0, Optimality::Proven));
    }
}
