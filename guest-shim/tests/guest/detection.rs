//! Finding Xen among hypervisors, and choosing how interrupts come.

use std::collections::BTreeMap;

use guest_shim::ApicMode;
use guest_shim::Cpuid;
use guest_shim::MsiPath;
use guest_shim::Upcall;
use guest_shim::Version;
use guest_shim::Xen;
use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::cpuid;
use hypervisor_abi::cpuid::CpuidLeaf;
use hypervisor_abi::cpuid::HvmFeatures;
use hypervisor_abi::features::Feature;
use hypervisor_abi::features::Features;
use hypervisor_abi::hvm::CallbackVia;
use parking_lot::RawMutex;

use crate::machine::Bitmaps;
use crate::machine::Machine;
use crate::machine::guest;

/// A processor with these leaves, which answers junk for all others, as processors may.
struct Processor(BTreeMap<u32, CpuidLeaf>);

impl Cpuid for Processor {
    fn leaf(&self, leaf: u32) -> CpuidLeaf {
        self.0.get(&leaf).copied().unwrap_or(CpuidLeaf { eax: u32::MAX, ebx: u32::MAX, ecx: u32::MAX, edx: u32::MAX })
    }
}

fn processor(base: u32, last: u32, features: HvmFeatures) -> Processor {
    let [ebx, ecx, edx] = cpuid::SIGNATURE;
    Processor(BTreeMap::from([
        (base, CpuidLeaf { eax: base + last, ebx, ecx, edx }),
        (base + 1, CpuidLeaf { eax: 4 << 16 | 17, ..CpuidLeaf::default() }),
        (base + 2, CpuidLeaf { eax: 1, ebx: 0x4000_0000, ..CpuidLeaf::default() }),
        (base + 4, CpuidLeaf { eax: features.into(), ebx: 5, ecx: 9, edx: 0 }),
    ]))
}

#[test]
fn xen_is_found_behind_another_hypervisor_and_nowhere_else() {
    for base in [0x4000_0000, 0x4000_0100, 0x4000_ff00] {
        let processor = processor(base, 5, HvmFeatures::new());
        let xen = Xen::find(&processor).expect("Xen's leaves");
        assert_eq!((xen.base(), xen.last(), xen.version), (base, base + 5, Version { major: 4, minor: 17 }));
        assert_eq!(xen.hypercall_msr(&processor), 0x4000_0000);
        assert_eq!((xen.vcpu(), xen.domain()), (None, None));
    }
    for base in [0x4000_0080, 0x4001_0000] {
        assert_eq!(Xen::find(&processor(base, 5, HvmFeatures::new())), None);
    }
    assert_eq!(Xen::find(&Processor(BTreeMap::new())), None);
}

#[test]
fn leaves_beyond_the_last_one_are_not_looked_at() {
    let all = HvmFeatures::from(0x7f);
    let with = |last| Xen::find(&processor(cpuid::FIRST_LEAF, last, all));
    assert_eq!(with(1), None, "without the leaf of the hypercall page it cannot be used");
    let without_features = with(3).expect("Xen's leaves");
    assert_eq!(without_features.features, HvmFeatures::new());
    let xen = with(4).expect("Xen's leaves");
    assert_eq!((xen.features, xen.vcpu(), xen.domain()), (all, Some(VcpuId(5)), Some(DomainId(9))));
}

/// Xen e2d2b9fd7a: with a vector of the vCPU's own, physical IRQs as events work only where bit 6 says so.
#[test]
fn r31_a_vector_of_the_vcpus_own_is_chosen_only_where_its_feature_bit_is_set() {
    let find = |features| Xen::find(&processor(cpuid::FIRST_LEAF, 5, features)).expect("Xen's leaves");
    let by_callback = Features::default().with(Feature::HvmCallbackVector);
    let with_bit = find(HvmFeatures::new().with_upcall_vector(true));
    let without_bit = find(HvmFeatures::from(0x3f));
    assert_eq!(with_bit.upcall(by_callback, 0xf3), Some(Upcall::OwnVector(0xf3)));
    assert_eq!(with_bit.upcall(Features::default(), 0xf3), Some(Upcall::OwnVector(0xf3)));
    assert_eq!(without_bit.upcall(by_callback, 0xf3), Some(Upcall::Callback(CallbackVia::Vector(0xf3))));
    assert_eq!(without_bit.upcall(Features::default(), 0xf3), None);
}

#[test]
fn only_the_callback_by_vector_needs_no_eoi() {
    assert!(Upcall::OwnVector(0xf3).needs_apic_eoi());
    assert!(!Upcall::Callback(CallbackVia::Vector(0xf3)).needs_apic_eoi());
    assert!(Upcall::Callback(CallbackVia::Gsi(28)).needs_apic_eoi());
    assert!(Upcall::Callback(CallbackVia::PciIntx { device: 3, pin: 0 }).needs_apic_eoi());
}

/// The rule of `arch/x86/pci/xen.c` in Linux, over all features that matter and both modes.
#[test]
fn messages_become_events_only_without_hardware_support_and_where_xen_offers_it() {
    let offers = Features::default().with(Feature::HvmCallbackVector).with(Feature::HvmPirqs);
    for bits in 0..4 {
        let features = HvmFeatures::new().with_apic_access_virt(bits & 1 != 0).with_x2apic_virt(bits & 2 != 0);
        let xen = Xen::find(&processor(cpuid::FIRST_LEAF, 5, features)).expect("Xen's leaves");
        let x2apic = if bits == 0 { MsiPath::Event } else { MsiPath::Native };
        let xapic = if bits & 1 == 0 { MsiPath::Event } else { MsiPath::Native };
        assert_eq!(xen.msi_path(offers, ApicMode::X2Apic), x2apic, "{bits:02b}");
        assert_eq!(xen.msi_path(offers, ApicMode::XApic), xapic, "{bits:02b}");
        for too_few in [Feature::HvmCallbackVector, Feature::HvmPirqs] {
            assert_eq!(xen.msi_path(Features::default().with(too_few), ApicMode::XApic), MsiPath::Native);
        }
    }
}

#[test]
fn features_and_parameters_are_asked_of_the_hypervisor() {
    let machine = Machine::<RawMutex>::new(1, 63);
    let guest = guest::<Bitmaps, _>(&machine, 64);
    let features = guest_shim::features(guest.hypercalls()).unwrap();
    assert!(features.has(Feature::HvmCallbackVector) && !features.has(Feature::HvmPirqs));
    assert_eq!(guest_shim::hvm_param(guest.hypercalls(), hypervisor_abi::hvm::HVM_PARAM_STORE_EVTCHN), Ok(1));
    let refused = guest_shim::hvm_param(guest.hypercalls(), 99).unwrap_err();
    assert_eq!(refused.to_string(), "HVMOP_get_param of this guest was refused: invalid argument");
}
