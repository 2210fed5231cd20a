//! The layouts and numbers against the installed headers of Xen (Debian: `libxen-dev`), through a C compiler: what the
//! compiler prints must be what the crate says. Without headers or compiler the test says `SKIP` and why.
#![cfg(not(any(loom, shuttle)))]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use hypervisor_abi::Errno;
use hypervisor_abi::cpuid;
use hypervisor_abi::cpuid::HvmFeatures;
use hypervisor_abi::domctl;
use hypervisor_abi::domctl::GuestMessageFlags;
use hypervisor_abi::errno;
use hypervisor_abi::event;
use hypervisor_abi::features;
use hypervisor_abi::features::Feature;
use hypervisor_abi::hvm;
use hypervisor_abi::memory;
use hypervisor_abi::physdev;
use hypervisor_abi::sched;
use hypervisor_abi::shared_info::LEGACY_MAX_VCPUS;
use hypervisor_abi::shared_info::SharedInfo32;
use hypervisor_abi::shared_info::SharedInfo64;
use hypervisor_abi::sysctl;
use hypervisor_abi::trace;
use hypervisor_abi::vcpu_info;
use hypervisor_abi::vcpu_info::RegisterVcpuInfo;
use hypervisor_abi::vcpu_info::VcpuInfo32;
use hypervisor_abi::vcpu_info::VcpuInfo64;
use hypervisor_abi::version;
use hypervisor_abi::xenstore;

/// A C expression and what it must be.
type Fact = (String, u64);

fn fact(expression: &str, value: usize) -> Fact {
    (expression.to_owned(), u64::try_from(value).expect("a small number"))
}

/// Prints each fact's value by a compiled C program; `Err` says why that cannot be done here.
fn compiled(facts: &[Fact]) -> Result<BTreeMap<String, u64>, String> {
    if !Path::new("/usr/include/xen/event_channel.h").exists() {
        return Err("Xen's headers are not installed (Debian: apt-get install libxen-dev)".to_owned());
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (source, program) = (directory.path().join("facts.c"), directory.path().join("facts"));
    let mut text = String::from(
        "#define __XEN_TOOLS__ 1\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <xen/xen.h>\n\
         #include <xen/errno.h>\n#include <xen/event_channel.h>\n#include <xen/features.h>\n#include <xen/vcpu.h>\n\
         #include <xen/physdev.h>\n#include <xen/version.h>\n#include <xen/domctl.h>\n#include <xen/sysctl.h>\n#include <xen/trace.h>\n#include <xen/io/xs_wire.h>\n#include <xen/memory.h>\n#include <xen/sched.h>\n\
         #include <xen/hvm/hvm_op.h>\n#include <xen/hvm/params.h>\n#include <xen/arch-x86/cpuid.h>\n\
         #include <xen/foreign/x86_32.h>\n#include <xen/foreign/x86_64.h>\nint main(void) {\n",
    );
    for (expression, _) in facts {
        writeln!(text, "printf(\"%s\\t%llu\\n\", \"{expression}\", (unsigned long long)({expression}));")
            .expect("a string takes any text");
    }
    text.push_str("return 0; }\n");
    fs::write(&source, text).expect("a writable file");
    let compiler = Command::new("cc").arg(&source).arg("-o").arg(&program).output();
    let compiler = compiler.map_err(|error| format!("no C compiler (cc): {error}"))?;
    assert!(compiler.status.success(), "cc: {}", String::from_utf8_lossy(&compiler.stderr));
    let printed = Command::new(&program).output().expect("the program just compiled runs");
    let printed = String::from_utf8(printed.stdout).expect("plain text");
    let lines = printed.lines().map(|line| {
        let (expression, value) = line.split_once('\t').expect("a tab in each line");
        (expression.to_owned(), value.parse().expect("a number"))
    });
    Ok(lines.collect())
}

fn check(facts: &[Fact]) {
    match compiled(facts) {
        Ok(values) => {
            for (expression, value) in facts {
                assert_eq!(values.get(expression), Some(value), "{expression}");
            }
        }
        Err(reason) => println!("SKIP abi-headers: {reason}"),
    }
}

/// Facts of a structure: its size and its fields' offsets.
macro_rules! layout {
    ($ours:ty, $theirs:literal, [$($field:ident = $their_field:literal),* $(,)?]) => {
        [
            fact(concat!("sizeof(", $theirs, ")"), size_of::<$ours>()),
            $(fact(concat!("offsetof(", $theirs, ", ", $their_field, ")"), offset_of!($ours, $field)),)*
        ]
    };
}

#[test]
fn shared_pages_of_both_word_sizes_are_laid_out_as_in_the_headers() {
    let mut facts = Vec::new();
    facts.extend(layout!(
        SharedInfo64,
        "struct shared_info_x86_64",
        [
            vcpu_info = "vcpu_info",
            evtchn_pending = "evtchn_pending",
            evtchn_mask = "evtchn_mask",
            wc_version = "wc_version",
            wc_sec_hi = "wc_sec_hi",
            arch = "arch",
        ]
    ));
    facts.extend(layout!(
        SharedInfo32,
        "struct shared_info_x86_32",
        [
            vcpu_info = "vcpu_info",
            evtchn_pending = "evtchn_pending",
            evtchn_mask = "evtchn_mask",
            wc_version = "wc_version",
            arch = "arch",
            wc_sec_hi = "arch.wc_sec_hi",
        ]
    ));
    facts.extend(layout!(
        VcpuInfo64,
        "struct vcpu_info_x86_64",
        [
            evtchn_upcall_pending = "evtchn_upcall_pending",
            evtchn_upcall_mask = "evtchn_upcall_mask",
            evtchn_pending_sel = "evtchn_pending_sel",
            arch = "arch",
            time = "time",
        ]
    ));
    facts.extend(layout!(
        VcpuInfo32,
        "struct vcpu_info_x86_32",
        [
            evtchn_upcall_pending = "evtchn_upcall_pending",
            evtchn_upcall_mask = "evtchn_upcall_mask",
            evtchn_pending_sel = "evtchn_pending_sel",
            arch = "arch",
            time = "time",
        ]
    ));
    facts.push(fact("XEN_LEGACY_MAX_VCPUS", LEGACY_MAX_VCPUS));
    check(&facts);
}

#[test]
fn fifo_pages_and_arguments_are_laid_out_as_in_the_headers() {
    let mut facts = Vec::new();
    facts.extend(layout!(event::ControlBlock, "struct evtchn_fifo_control_block", [ready = "ready", head = "head"]));
    facts.extend(layout!(
        event::Status,
        "struct evtchn_status",
        [
            dom = "dom",
            port = "port",
            status = "status",
            vcpu = "vcpu",
            detail = "u",
            remote_port = "u.interdomain.port",
        ]
    ));
    facts.extend(layout!(
        event::InitControl,
        "struct evtchn_init_control",
        [control_gfn = "control_gfn", offset = "offset", vcpu = "vcpu", link_bits = "link_bits",]
    ));
    facts.extend(layout!(RegisterVcpuInfo, "struct vcpu_register_vcpu_info", [gfn = "mfn", offset = "offset"]));
    facts.extend(layout!(hvm::HvmParam, "struct xen_hvm_param", [domid = "domid", index = "index", value = "value"]));
    facts.extend(layout!(
        hvm::EvtchnUpcallVector,
        "struct xen_hvm_evtchn_upcall_vector",
        [vcpu = "vcpu", vector = "vector",]
    ));
    facts.push(fact("EVTCHN_FIFO_NR_CHANNELS", event::FIFO_CHANNELS as usize));
    facts.push(fact("EVTCHN_FIFO_MAX_QUEUES", event::FIFO_QUEUES));
    facts.push(fact("BIND_PIRQ__WILL_SHARE", event::WILL_SHARE as usize));
    facts.push(fact("VCPUOP_register_vcpu_info", vcpu_info::VCPUOP_REGISTER_VCPU_INFO as usize));
    check(&facts);
}

#[test]
fn physical_irq_arguments_are_laid_out_as_in_the_headers() {
    let mut facts = Vec::new();
    facts.extend(layout!(physdev::PirqEoi, "struct physdev_eoi", [irq = "irq"]));
    facts.extend(layout!(physdev::PirqEoiGmfn, "struct physdev_pirq_eoi_gmfn", [gmfn = "gmfn"]));
    facts.extend(layout!(
        physdev::MapPirq,
        "struct physdev_map_pirq",
        [
            domid = "domid",
            kind = "type",
            index = "index",
            pirq = "pirq",
            bus = "bus",
            devfn = "devfn",
            entry_nr = "entry_nr",
            table_base = "table_base",
        ]
    ));
    facts.extend(layout!(physdev::UnmapPirq, "struct physdev_unmap_pirq", [domid = "domid", pirq = "pirq"]));
    facts.extend(layout!(physdev::GetFreePirq, "struct physdev_get_free_pirq", [kind = "type", pirq = "pirq"]));
    facts.extend(layout!(physdev::IrqStatusQuery, "struct physdev_irq_status_query", [irq = "irq", flags = "flags"]));
    facts.extend(layout!(
        domctl::BindPtIrq,
        "struct xen_domctl_bind_pt_irq",
        [
            machine_irq = "machine_irq",
            irq_type = "irq_type",
            first = "u.msi.gvec",
            device = "u.pci.device",
            intx = "u.pci.intx",
            gflags = "u.msi.gflags",
            gtable = "u.msi.gtable",
        ]
    ));
    facts.extend(layout!(
        features::FeatureInfo,
        "struct xen_feature_info",
        [submap_idx = "submap_idx", submap = "submap"]
    ));
    facts.push(fact("PHYSDEVOP_irq_status_query", physdev::PHYSDEVOP_IRQ_STATUS_QUERY as usize));
    facts.push(fact("XENIRQSTAT_needs_eoi", physdev::IRQ_STATUS_NEEDS_EOI as usize));
    facts.push(fact("XENIRQSTAT_shared", physdev::IRQ_STATUS_SHARED as usize));
    facts.push(fact("MAP_PIRQ_TYPE_MULTI_MSI", physdev::MAP_PIRQ_TYPE_MULTI_MSI.unsigned_abs() as usize));
    facts.push(fact("MAP_PIRQ_TYPE_MSI_SEG", physdev::MAP_PIRQ_TYPE_MSI_SEG.unsigned_abs() as usize));
    facts.push(fact("MAP_PIRQ_TYPE_UNKNOWN", physdev::MAP_PIRQ_TYPE_UNKNOWN.unsigned_abs() as usize));
    facts.push(fact("XEN_DOMCTL_bind_pt_irq", domctl::DOMCTL_BIND_PT_IRQ as usize));
    facts.push(fact("XEN_DOMCTL_unbind_pt_irq", domctl::DOMCTL_UNBIND_PT_IRQ as usize));
    facts.push(fact("PT_IRQ_TYPE_PCI", domctl::PT_IRQ_TYPE_PCI as usize));
    facts.push(fact("PT_IRQ_TYPE_ISA", domctl::PT_IRQ_TYPE_ISA as usize));
    facts.push(fact("PT_IRQ_TYPE_MSI", domctl::PT_IRQ_TYPE_MSI as usize));
    facts.push(fact("PT_IRQ_TYPE_MSI_TRANSLATE", domctl::PT_IRQ_TYPE_MSI_TRANSLATE as usize));
    let flags = |flags: GuestMessageFlags| u32::from(flags) as usize;
    facts.push(fact("XEN_DOMCTL_VMSI_X86_DEST_ID_MASK", flags(GuestMessageFlags::new().with_destination(0xff))));
    facts.push(fact("XEN_DOMCTL_VMSI_X86_RH_MASK", flags(GuestMessageFlags::new().with_redirection_hint(true))));
    facts.push(fact("XEN_DOMCTL_VMSI_X86_DM_MASK", flags(GuestMessageFlags::new().with_logical(true))));
    facts.push(fact("XEN_DOMCTL_VMSI_X86_DELIV_MASK", flags(GuestMessageFlags::new().with_delivery_mode(7))));
    facts.push(fact("XEN_DOMCTL_VMSI_X86_TRIG_MASK", flags(GuestMessageFlags::new().with_level(true))));
    facts.push(fact("XEN_DOMCTL_VMSI_X86_UNMASKED", flags(GuestMessageFlags::new().with_unmasked(true))));
    facts.push(fact("PHYSDEVOP_eoi", physdev::PHYSDEVOP_EOI as usize));
    facts.push(fact("PHYSDEVOP_map_pirq", physdev::PHYSDEVOP_MAP_PIRQ as usize));
    facts.push(fact("PHYSDEVOP_unmap_pirq", physdev::PHYSDEVOP_UNMAP_PIRQ as usize));
    facts.push(fact("PHYSDEVOP_get_free_pirq", physdev::PHYSDEVOP_GET_FREE_PIRQ as usize));
    facts.push(fact("PHYSDEVOP_pirq_eoi_gmfn_v1", physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V1 as usize));
    facts.push(fact("PHYSDEVOP_pirq_eoi_gmfn_v2", physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V2 as usize));
    facts.push(fact("XENVER_get_features", features::XENVER_GET_FEATURES as usize));
    check(&facts);
}

#[test]
fn the_calls_of_set_up_and_waiting_are_laid_out_as_in_the_headers() {
    let mut facts = Vec::new();
    facts.extend(layout!(
        memory::AddToPhysmap,
        "struct xen_add_to_physmap",
        [domid = "domid", size = "size", space = "space", idx = "idx", gpfn = "gpfn"]
    ));
    facts.extend(layout!(
        sched::SchedPoll,
        "struct sched_poll",
        [ports = "ports", nr_ports = "nr_ports", timeout = "timeout"]
    ));
    facts.push(fact("XENMEM_add_to_physmap", memory::XENMEM_ADD_TO_PHYSMAP as usize));
    facts.push(fact("XENMAPSPACE_shared_info", memory::XENMAPSPACE_SHARED_INFO as usize));
    facts.extend(layout!(sched::SchedShutdown, "struct sched_shutdown", [reason = "reason"]));
    facts.push(fact("SCHEDOP_poll", sched::SCHEDOP_POLL as usize));
    facts.push(fact("SCHEDOP_shutdown", sched::SCHEDOP_SHUTDOWN as usize));
    facts.push(fact("SHUTDOWN_poweroff", sched::SHUTDOWN_POWEROFF as usize));
    facts.push(fact("SHUTDOWN_suspend", sched::SHUTDOWN_SUSPEND as usize));
    facts.push(fact("SHUTDOWN_crash", sched::SHUTDOWN_CRASH as usize));
    check(&facts);
}

#[test]
fn features_parameters_and_cpuid_bits_have_the_numbers_of_the_headers() {
    let bit = |features: HvmFeatures| u32::from(features) as usize;
    check(&[
        fact("XENFEAT_auto_translated_physmap", Feature::AutoTranslatedPhysmap as usize),
        fact("XENFEAT_hvm_callback_vector", Feature::HvmCallbackVector as usize),
        fact("XENFEAT_hvm_safe_pvclock", Feature::HvmSafePvclock as usize),
        fact("XENFEAT_hvm_pirqs", Feature::HvmPirqs as usize),
        fact("XENFEAT_dom0", Feature::Dom0 as usize),
        fact("XENFEAT_not_direct_mapped", Feature::NotDirectMapped as usize),
        fact("HVM_PARAM_CALLBACK_IRQ", hvm::HVM_PARAM_CALLBACK_IRQ as usize),
        fact("HVM_PARAM_STORE_EVTCHN", hvm::HVM_PARAM_STORE_EVTCHN as usize),
        fact("HVM_PARAM_CONSOLE_EVTCHN", hvm::HVM_PARAM_CONSOLE_EVTCHN as usize),
        fact("HVMOP_set_param", hvm::HVMOP_SET_PARAM as usize),
        fact("HVMOP_set_evtchn_upcall_vector", hvm::HVMOP_SET_EVTCHN_UPCALL_VECTOR as usize),
        fact("XEN_CPUID_FIRST_LEAF", cpuid::FIRST_LEAF as usize),
        fact("XEN_CPUID_SIGNATURE_EBX", cpuid::SIGNATURE[0] as usize),
        fact("XEN_CPUID_SIGNATURE_ECX", cpuid::SIGNATURE[1] as usize),
        fact("XEN_CPUID_SIGNATURE_EDX", cpuid::SIGNATURE[2] as usize),
        fact("XEN_CPUID_MAX_NUM_LEAVES", cpuid::MAX_LEAVES as usize),
        fact("XEN_HVM_CPUID_APIC_ACCESS_VIRT", bit(HvmFeatures::new().with_apic_access_virt(true))),
        fact("XEN_HVM_CPUID_X2APIC_VIRT", bit(HvmFeatures::new().with_x2apic_virt(true))),
        fact("XEN_HVM_CPUID_VCPU_ID_PRESENT", bit(HvmFeatures::new().with_vcpu_id_present(true))),
        fact("XEN_HVM_CPUID_DOMID_PRESENT", bit(HvmFeatures::new().with_domid_present(true))),
        fact("XEN_HVM_CPUID_EXT_DEST_ID", bit(HvmFeatures::new().with_ext_dest_id(true))),
        fact("XEN_HVM_CPUID_UPCALL_VECTOR", bit(HvmFeatures::new().with_upcall_vector(true))),
    ]);
}

#[test]
fn errors_have_the_numbers_of_the_headers() {
    // In the order of errno::ALL; ERESTART is the hypervisor's own and not in the public view of the header.
    let names = [
        "EPERM",
        "ENOENT",
        "ESRCH",
        "ENXIO",
        "EAGAIN",
        "ENOMEM",
        "EACCES",
        "EFAULT",
        "EBUSY",
        "EEXIST",
        "ENODEV",
        "EINVAL",
        "ENFILE",
        "ENOSPC",
        "EDOM",
        "ERANGE",
        "ENOSYS",
        "ENODATA",
        "EOPNOTSUPP",
        "ENOTCONN",
    ];
    let public = errno::ALL.into_iter().filter(|errno| *errno != Errno::Restart);
    let facts: Vec<Fact> =
        names.iter().zip(public).map(|(name, errno)| fact(&format!("XEN_{name}"), errno as usize)).collect();
    assert_eq!(facts.len(), errno::ALL.len() - 1);
    check(&facts);
}

#[test]
fn what_a_toolstack_asks_is_laid_out_as_in_the_headers() {
    let mut facts = vec![
        fact("sizeof(struct xen_sysctl)", size_of::<sysctl::Sysctl>()),
        fact("offsetof(struct xen_sysctl, u)", offset_of!(sysctl::Sysctl, argument)),
        fact("sizeof(struct xen_domctl)", size_of::<domctl::Domctl>()),
        fact("offsetof(struct xen_domctl, u)", offset_of!(domctl::Domctl, argument)),
        fact("sizeof(struct t_buf)", size_of::<trace::TraceBuffer>()),
        fact("offsetof(struct t_buf, prod)", offset_of!(trace::TraceBuffer, prod)),
        fact("sizeof(struct xen_compile_info)", size_of::<version::CompileInfo>()),
        fact("sizeof(struct xsd_sockmsg)", size_of::<xenstore::MessageHeader>()),
        fact("XENSTORE_PAYLOAD_MAX", xenstore::PAYLOAD_MAX),
        fact("sizeof(struct xen_domctl_getdomaininfo) <= 512", usize::from(sysctl::DOMAIN_INFO_ROOM == 512)),
    ];
    facts.extend(layout!(
        sysctl::ReadConsole,
        "struct xen_sysctl_readconsole",
        [clear = "clear", incremental = "incremental", index = "index", buffer = "buffer", count = "count"]
    ));
    facts.extend(layout!(
        sysctl::TbufOp,
        "struct xen_sysctl_tbuf_op",
        [cmd = "cmd", cpu_mask = "cpu_mask", evt_mask = "evt_mask", buffer_mfn = "buffer_mfn", size = "size"]
    ));
    facts.extend(layout!(sysctl::DebugKeys, "struct xen_sysctl_debug_keys", [keys = "keys", nr_keys = "nr_keys"]));
    facts.extend(layout!(
        sysctl::GetDomainInfoList,
        "struct xen_sysctl_getdomaininfolist",
        [first_domain = "first_domain", max_domains = "max_domains", buffer = "buffer", num_domains = "num_domains"]
    ));
    facts.extend(layout!(
        sysctl::CpuTopoInfo,
        "struct xen_sysctl_cputopoinfo",
        [num_cpus = "num_cpus", cputopo = "cputopo"]
    ));
    facts.extend(layout!(
        sysctl::CpuTopo,
        "struct xen_sysctl_cputopo",
        [core = "core", socket = "socket", node = "node"]
    ));
    facts.extend(layout!(
        domctl::GetVcpuInfo,
        "struct xen_domctl_getvcpuinfo",
        [vcpu = "vcpu", online = "online", running = "running", cpu_time = "cpu_time", cpu = "cpu"]
    ));
    facts.extend(layout!(
        domctl::VcpuAffinity,
        "struct xen_domctl_vcpuaffinity",
        [vcpu = "vcpu", flags = "flags", hard = "cpumap_hard", soft = "cpumap_soft"]
    ));
    // Later fields differ between versions, so only offsets are compared.
    for (field, offset) in [
        ("capabilities", offset_of!(sysctl::PhysInfo, capabilities)),
        ("cpu_khz", offset_of!(sysctl::PhysInfo, cpu_khz)),
    ] {
        facts.push(fact(&format!("offsetof(struct xen_sysctl_physinfo, {field})"), offset));
    }
    for (field, offset) in [
        ("flags", offset_of!(domctl::GetDomainInfo, flags)),
        ("tot_pages", offset_of!(domctl::GetDomainInfo, tot_pages)),
        ("cpu_time", offset_of!(domctl::GetDomainInfo, cpu_time)),
        ("nr_online_vcpus", offset_of!(domctl::GetDomainInfo, nr_online_vcpus)),
        ("max_vcpu_id", offset_of!(domctl::GetDomainInfo, max_vcpu_id)),
    ] {
        facts.push(fact(&format!("offsetof(struct xen_domctl_getdomaininfo, {field})"), offset));
    }
    check(&facts);
}

#[test]
fn what_a_toolstack_asks_has_the_numbers_of_the_headers() {
    let number = |name: &str, value: u32| fact(name, value as usize);
    check(&[
        number("XEN_SYSCTL_readconsole", sysctl::SYSCTL_READCONSOLE),
        number("XEN_SYSCTL_tbuf_op", sysctl::SYSCTL_TBUF_OP),
        number("XEN_SYSCTL_physinfo", sysctl::SYSCTL_PHYSINFO),
        number("XEN_SYSCTL_sched_id", sysctl::SYSCTL_SCHED_ID),
        number("XEN_SYSCTL_getdomaininfolist", sysctl::SYSCTL_GETDOMAININFOLIST),
        number("XEN_SYSCTL_debug_keys", sysctl::SYSCTL_DEBUG_KEYS),
        number("XEN_SYSCTL_cputopoinfo", sysctl::SYSCTL_CPUTOPOINFO),
        number("XEN_SYSCTL_TBUFOP_set_size", sysctl::TBUFOP_SET_SIZE),
        number("XEN_SYSCTL_TBUFOP_disable", sysctl::TBUFOP_DISABLE),
        number("XEN_SYSCTL_PHYSCAP_hvm", sysctl::PHYSCAP_HVM),
        number("XEN_SYSCTL_PHYSCAP_pv", sysctl::PHYSCAP_PV),
        number("XEN_SYSCTL_PHYSCAP_directio", sysctl::PHYSCAP_DIRECTIO),
        number("XEN_SYSCTL_PHYSCAP_hap", sysctl::PHYSCAP_HAP),
        number("XEN_DOMCTL_getvcpuinfo", domctl::DOMCTL_GETVCPUINFO),
        number("XEN_DOMCTL_getvcpuaffinity", domctl::DOMCTL_GETVCPUAFFINITY),
        number("XEN_DOMCTL_setvcpuaffinity", domctl::DOMCTL_SETVCPUAFFINITY),
        number("XEN_DOMINF_hvm_guest", domctl::DOMINF_HVM_GUEST),
        number("XEN_DOMINF_running", domctl::DOMINF_RUNNING),
        number("XEN_VCPUAFFINITY_SOFT", domctl::VCPUAFFINITY_SOFT),
        number("TRC_HW_IRQ", trace::HW_IRQ_CLASS),
        number("XS_DIRECTORY", xenstore::XS_DIRECTORY),
        number("XS_READ", xenstore::XS_READ),
        number("XS_ERROR", xenstore::XS_ERROR),
        number("XS_WATCH_EVENT", xenstore::XS_WATCH_EVENT),
        fact("XENVER_commandline", version::XENVER_COMMANDLINE as usize),
        fact("XENVER_capabilities", version::XENVER_CAPABILITIES as usize),
        fact("XENVER_extraversion", version::XENVER_EXTRAVERSION as usize),
        fact("XENVER_compile_info", version::XENVER_COMPILE_INFO as usize),
    ]);
}
