//! What `xl info`, `xl list` and `xl vcpu-list` print, from the hypervisor itself.

use std::fmt::Write as _;
use std::fs;

use carillon_xen_host::Domain;
use carillon_xen_host::Hypercalls;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::Vcpu;
use carillon_xen_host::XenError;
use hypervisor_abi::PAGE_SIZE;
use hypervisor_abi::domctl;
use hypervisor_abi::sysctl;
use hypervisor_abi::sysctl::PhysInfo;

/// Pages of a MiB.
const PAGES_PER_MIB: u64 = (1 << 20) / PAGE_SIZE as u64;

/// `xl info`, without the host's memory.
pub(super) fn info<H: Hypercalls>(xen: &Hypervisor<H>) -> Result<String, XenError> {
    let (machine, version, compiled) = (xen.physical_info()?, xen.version()?, xen.compiled_by()?);
    let kernel = |file: &str| fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap_or_default();
    let fields = [
        ("host", kernel("hostname")),
        ("release", kernel("osrelease")),
        ("version", kernel("version")),
        ("nr_cpus", machine.nr_cpus.to_string()),
        ("max_cpu_id", machine.max_cpu_id.to_string()),
        ("nr_nodes", machine.nr_nodes.to_string()),
        ("cores_per_socket", machine.cores_per_socket.to_string()),
        ("threads_per_core", machine.threads_per_core.to_string()),
        ("cpu_mhz", format!("{}.{:03}", machine.cpu_khz / 1000, machine.cpu_khz % 1000)),
        ("virt_caps", abilities(&machine)),
        ("xen_major", version.major.to_string()),
        ("xen_minor", version.minor.to_string()),
        ("xen_extra", version.extra.clone()),
        ("xen_version", version.to_string()),
        ("xen_caps", xen.capabilities()?),
        ("xen_scheduler", xen.scheduler()?.to_string()),
        ("xen_pagesize", PAGE_SIZE.to_string()),
        ("xen_commandline", xen.command_line()?),
        ("cc_compiler", compiled.compiler),
        ("cc_compile_by", compiled.by),
        ("cc_compile_domain", compiled.domain),
        ("cc_compile_date", compiled.date),
    ];
    Ok(fields.iter().map(|(name, value)| format!("{name:<23}: {}\n", one_line(value.trim()))).collect())
}

/// `virt_caps`, as far as the interface's versions agree on the bits.
fn abilities(machine: &PhysInfo) -> String {
    let has = |bit: u32| machine.capabilities & bit != 0;
    let (hvm, pv, direct) = (has(sysctl::PHYSCAP_HVM), has(sysctl::PHYSCAP_PV), has(sysctl::PHYSCAP_DIRECTIO));
    let abilities = [
        ("pv", pv),
        ("hvm", hvm),
        ("hvm_directio", hvm && direct),
        ("pv_directio", pv && direct),
        ("hap", has(sysctl::PHYSCAP_HAP)),
    ];
    abilities.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// `xl list`.
pub(super) fn list(domains: &[Domain], name: &impl Fn(&Domain) -> String) -> String {
    let mut text = format!("{:<40} {:>5} {:>5} {:>5}\tState\tTime(s)\n", "Name", "ID", "Mem", "VCPUs");
    for domain in domains {
        let flag = |is_set: bool, letter: char| if is_set { letter } else { '-' };
        let has = |mask: u32| domain.flags.has(mask);
        let is_idle = !has(domctl::DOMINF_PAUSED) && !has(domctl::DOMINF_SHUTDOWN);
        let state: String = [
            flag(has(domctl::DOMINF_RUNNING), 'r'),
            flag(is_idle && has(domctl::DOMINF_BLOCKED), 'b'),
            flag(has(domctl::DOMINF_PAUSED), 'p'),
            flag(has(domctl::DOMINF_SHUTDOWN), 's'),
            flag(domain.flags.has_crashed(), 'c'),
            flag(has(domctl::DOMINF_DYING), 'd'),
        ]
        .iter()
        .collect();
        writeln!(
            text,
            "{:<40} {:>5} {:>5} {:>5}     {state}  {:>8}",
            one_line(&name(domain)),
            domain.id.0,
            domain.pages / PAGES_PER_MIB,
            domain.online_vcpus,
            seconds(domain.cpu_time_ns)
        )
        .expect("a string takes any text");
    }
    text
}

/// `xl vcpu-list`.
pub(super) fn vcpu_list<H: Hypercalls>(
    xen: &Hypervisor<H>,
    domains: &[Domain],
    name: &impl Fn(&Domain) -> String,
) -> Result<String, XenError> {
    let cpus = xen.physical_info()?.max_cpu_id.saturating_add(1);
    let mut text = format!(
        "{:<32} {:>5} {:>5} {:>5} {:>5} {:>9} Affinity (Hard / Soft)\n",
        "Name", "ID", "VCPU", "CPU", "State", "Time(s)"
    );
    for domain in domains {
        for vcpu in xen.vcpus(domain)? {
            let (cpu, state) = place(&vcpu);
            writeln!(
                text,
                "{:<32} {:>5} {:>5} {cpu:>5}   {state} {:>9}  {} / {}",
                one_line(&name(domain)),
                domain.id.0,
                vcpu.id.0,
                seconds(vcpu.cpu_time_ns),
                affinity(&vcpu.hard, cpus),
                affinity(&vcpu.soft, cpus)
            )
            .expect("a string takes any text");
        }
    }
    Ok(text)
}

/// Where a vCPU is and what it does.
fn place(vcpu: &Vcpu) -> (String, &'static str) {
    match (vcpu.is_online, vcpu.is_running, vcpu.is_blocked) {
        (false, ..) => ("-".to_owned(), "--p"),
        (true, true, false) => (vcpu.cpu.to_string(), "r--"),
        (true, false, true) => (vcpu.cpu.to_string(), "-b-"),
        (true, true, true) => (vcpu.cpu.to_string(), "rb-"),
        (true, false, false) => (vcpu.cpu.to_string(), "---"),
    }
}

/// A set of CPUs: `all`, `0-3,6`, or `none`.
fn affinity(cpus: &[u32], all: u32) -> String {
    if cpus.len() >= all as usize {
        return "all".to_owned();
    }
    let ranges = cpus.chunk_by(|a, b| a + 1 == *b).filter_map(|range| match (range.first(), range.last()) {
        (Some(first), Some(last)) if first == last => Some(first.to_string()),
        (Some(first), Some(last)) => Some(format!("{first}-{last}")),
        _ => None,
    });
    ranges.collect::<Vec<_>>().join(",")
}

/// Nanoseconds as seconds with one decimal.
fn seconds(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A text that cannot break a table's line.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if clean.trim().is_empty() { String::new() } else { clean }
}

#[cfg(test)]
mod tests {
    use carillon_sim::import::Affinity;
    use carillon_sim::import::Source;
    use carillon_sim::import::xl;
    use carillon_xen_host::Domain;
    use carillon_xen_host::DomainFlags;
    use carillon_xen_host::Vcpu;
    use hypervisor_abi::DomainId;
    use hypervisor_abi::VcpuId;
    use hypervisor_abi::sysctl::PhysInfo;

    use super::abilities;
    use super::affinity;
    use super::list;
    use super::place;
    use super::seconds;

    #[test]
    fn a_list_of_domains_is_read_back_whatever_a_name_holds() {
        let domain = |id, flags| Domain {
            id: DomainId(id),
            flags: DomainFlags(flags),
            pages: 262_144,
            cpu_time_ns: 89_450_000_000,
            online_vcpus: 4,
            vcpus: 4,
        };
        let domains = [domain(0, 32), domain(3, 16), domain(4, 4 | 3 << 16)];
        let text = list(&domains, &|domain| if domain.id.0 == 3 { "a\nb c".into() } else { "Domain-0".into() });
        let read = xl::parse_list(&Source::new("xl-list.txt", text)).expect("domains");
        let seen: Vec<(&str, u16, u64, &str)> =
            read.iter().map(|line| (line.name.as_str(), line.id.0, line.memory_mib, line.state.as_str())).collect();
        assert_eq!(
            seen,
            [("Domain-0", 0, 1024, "r-----"), ("a?b c", 3, 1024, "-b----"), ("Domain-0", 4, 1024, "---sc-")]
        );
    }

    #[test]
    fn affinities_and_places_are_as_xl_prints_them() {
        assert_eq!(affinity(&[0, 1, 2, 3], 4), "all");
        assert_eq!(affinity(&[0, 1, 2, 6, 8], 16), "0-2,6,8");
        let vcpu = |is_online| Vcpu {
            id: VcpuId(0),
            is_online,
            is_blocked: true,
            is_running: false,
            cpu_time_ns: 0,
            cpu: 3,
            hard: vec![0],
            soft: vec![0],
        };
        assert_eq!((place(&vcpu(true)), place(&vcpu(false))), (("3".into(), "-b-"), ("-".into(), "--p")));
        assert_eq!(seconds(27_949_999_999), "27.9");
        let heading = "Name    ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n";
        let row = format!("x  1  0  3   -b-  27.9  {} / all\n", affinity(&[0, 1, 5], 8));
        let read = xl::parse_vcpu_list(&Source::new("v", format!("{heading}{row}"))).expect("a vCPU");
        assert!(matches!(&read[0].hard, Affinity::Cpus(cpus) if cpus.to_string() == "{0-1,5}"));
    }

    #[test]
    fn what_a_guest_can_have_passed_through_needs_an_iommu() {
        let machine = |capabilities| PhysInfo { capabilities, ..PhysInfo::default() };
        assert_eq!(abilities(&machine(0b1011)), "pv hvm hap");
        assert_eq!(abilities(&machine(0b0111)), "pv hvm hvm_directio pv_directio");
    }
}
