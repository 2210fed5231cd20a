//! What the loader and the hypervisor tell the guest at its beginning.

use guest_shim::Version;
use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_abi::features::Feature;
use hypervisor_abi::sync::Ordering;

use crate::machine;
use crate::machine::machine;
use crate::machine::on_xen;
use crate::memory::SECOND_INFO;
use crate::start_info::MAGIC;
use crate::start_info::RAM;

/// The loader's structure is one, and its memory map holds the place this runs at.
pub(super) fn start_info() {
    let info = &machine().start_info;
    assert_eq!(info.magic, MAGIC);
    assert_ne!(info.rsdp, 0, "the ACPI tables");
    let here = (start_info as fn()) as usize as u64;
    let map = info.memory_map();
    assert!(
        map.iter().any(|area| area.kind == RAM && (area.address..area.address + area.size).contains(&here)),
        "{here:#x} is in none of {map:x?}"
    );
}

/// The leaves and features of an unprivileged guest whose memory is translated.
pub(super) fn hypervisor() {
    let found = on_xen();
    assert!(found.xen.version >= Version { major: 4, minor: 17 }, "{:?}", found.xen.version);
    assert_eq!(found.xen.vcpu(), Some(VcpuId(0)));
    assert!(found.xen.domain().is_none_or(|domain| domain.0 != 0));
    for feature in [Feature::AutoTranslatedPhysmap, Feature::HvmCallbackVector, Feature::HvmSafePvclock] {
        assert!(found.features.has(feature), "{feature:?} of {:?}", found.features);
    }
    assert!(!found.features.has(Feature::Dom0));
}

/// A vCPU's block can be registered once, which the guest did for its second vCPU.
pub(super) fn vcpu_info() {
    assert_eq!(machine::register_second(on_xen().hypervisor), Errno::Invalid.hypercall_result());
    assert_eq!(SECOND_INFO.evtchn_upcall_mask.load(Ordering::SeqCst), 0);
}
