//! What a move costs: read-modify-writes of the words that senders and hardware share.

use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Leaving;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::posted;
use hypervisor_lib::delivery::posted::Blocking;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::post;
use vector_allocator::CpuId;

use crate::explore;
use crate::posted::Host as PostedHost;
use crate::posted::KEY;
use crate::posted::vector;

/// The most a load or an unload may cost.
const MOST: u64 = 3;

fn posted_scenario(protocol: Protocol) {
    let host = PostedHost::new(protocol);
    let descriptor = &host.vcpu.descriptor;
    let mut before = 0;
    let mut costs = Vec::new();
    let mut count = |what: &'static str| {
        let all = descriptor.pir.iter().chain([&descriptor.control]).map(|word| word.exchanges()).sum::<u64>();
        costs.push((what, all - before));
        before = all;
    };
    let offline = posted::Offline::new(&host, KEY).expect("a vCPU");
    count("begun");
    let running = offline.load(CpuId(0));
    count("loaded");
    let preempted = running.preempt();
    count("preempted");
    let _ = post(descriptor, vector(0x51), Urgency::Ordinary);
    count("posted");
    let running = preempted.load(CpuId(1));
    count("loaded over a post");
    running.sync(|_, _| {});
    count("synced");
    let Blocking::Blocked(blocked) = running.block() else { panic!("nothing is posted") };
    count("blocked");
    let running = blocked.load(CpuId(2));
    count("loaded from its list");
    running.preempt().retire();
    count("retired");
    let of = |what| costs.iter().find(|(name, _)| *name == what).map(|(_, cost)| *cost).expect("counted");
    assert_eq!((of("loaded"), of("preempted"), of("blocked"), of("loaded from its list")), (1, 1, 1, 1));
    assert_eq!(of("loaded over a post"), if protocol == Protocol::Kvm { 2 } else { 1 });
    assert!(costs.iter().all(|(_, cost)| *cost <= MOST), "{protocol:?}: {costs:?}");
}

#[test]
fn loading_and_unloading_a_descriptor_takes_at_most_three_read_modify_writes() {
    for protocol in [Protocol::Xen, Protocol::Kvm] {
        match protocol {
            Protocol::Xen => explore(1, || posted_scenario(Protocol::Xen)),
            Protocol::Kvm => explore(1, || posted_scenario(Protocol::Kvm)),
        }
    }
}

struct Deaf;

impl Host for Deaf {
    fn act(&self, _: Action) {}
}

fn avic_scenario() {
    let (cells, page): ([PhysicalCell; 1], _) = (Default::default(), BackingPage::default());
    let table =
        PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, &cells, IpiVirtualization::On).expect("one entry");
    table.insert(ApicId(0), 1).expect("room");
    let mut vcpu = AvicVcpu::new(ApicId(0), GaTag(0), table, &page).expect("in the table");
    for index in 0..16 {
        vcpu.attach(IrteIndex { device: 0x300, index }, vector(0x51), &Deaf).expect("in the table");
    }
    let cost = |change: &mut dyn FnMut()| {
        let before = cells[0].0.exchanges();
        change();
        cells[0].0.exchanges() - before
    };
    let core = HostApicId::new(3).expect("small");
    assert_eq!(cost(&mut || vcpu.enter(core, &Deaf).expect("in the table")), 1);
    assert_eq!(cost(&mut || _ = vcpu.leave(Leaving::Preempting, &Deaf).expect("in the table")), 1);
    assert_eq!(cost(&mut || vcpu.enter(core, &Deaf).expect("in the table")), 1);
    assert_eq!(cost(&mut || _ = vcpu.leave(Leaving::Blocking, &Deaf).expect("in the table")), 1);
}

#[test]
fn entering_and_leaving_under_avic_takes_one_however_many_devices_there_are() {
    explore(1, avic_scenario);
}
