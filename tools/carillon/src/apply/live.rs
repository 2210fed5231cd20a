//! This host as a toolstack reaches it: the hypervisor, and dom0's kernel.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use carillon_sim::import::Binding;
use carillon_sim::import::IrqDump;
use carillon_sim::import::IrqLine;
use carillon_sim::import::Source;
use carillon_sim::import::dump_i;
use carillon_sim::snapshot::HostSnapshot;
use carillon_xen_host::ConsoleReader;
use carillon_xen_host::DebugKey;
use carillon_xen_host::ForeignMemory;
use carillon_xen_host::Hypercalls;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::XenError;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::ChannelState;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;

use super::toolstack::Fired;
use super::toolstack::Knob;
use super::toolstack::Toolstack;
use crate::failure::Failure;
use crate::live;
use crate::live::Files;
use crate::live::failure;
use crate::top;

/// Where the kernel keeps who handles an interrupt (`Documentation/core-api/irq/irq-affinity.rst`).
const INTERRUPTS: &str = "/proc/irq";
/// How long a look waits for what was done before.
const PAUSE: Duration = Duration::from_millis(100);

/// This host.
#[derive(Debug)]
pub(crate) struct LiveHost<'a, H> {
    xen: &'a Hypervisor<H>,
    /// What was read of it last; only what a deed can change is read again.
    host: Option<HostSnapshot>,
    console: ConsoleReader,
    /// How long to listen.
    listening: Duration,
}

impl<'a, H: Hypercalls + ForeignMemory> LiveHost<'a, H> {
    /// This host, which is listened to for so long.
    pub(crate) fn new(xen: &'a Hypervisor<H>, listening: Duration) -> Self {
        Self { xen, host: None, console: ConsoleReader::default(), listening }
    }

    /// Reads again what deeds change: vectors, where vCPUs may run, and which vCPU handles what. Says whether that is all that
    /// changed: not if domains or their interrupts came or went.
    fn refresh(&mut self, host: &mut HostSnapshot) -> Result<bool, Failure> {
        let xen_failure = |error: XenError| failure(&error);
        let text = self.console.dump(self.xen, DebugKey::Irqs).map_err(xen_failure)?.text;
        let irqs = dump_i::parse(&Source::new("dump-i.txt", text)).map_err(|error| Failure::caused(&error))?;
        let domains = self.xen.domains().map_err(xen_failure)?;
        let listed = host.domains.iter().flat_map(|dump| dump.domains.iter().map(|domain| domain.id));
        if who(&host.irqs) != who(&irqs) || !listed.eq(domains.iter().map(|domain| domain.id)) {
            return Ok(false);
        }
        host.irqs = irqs;
        for domain in domains {
            for vcpu in self.xen.vcpus(&domain).map_err(xen_failure)? {
                place_vcpu(host, domain.id.0, vcpu.id.0, vcpu.cpu, &vcpu.hard);
            }
            for status in self.xen.ports(domain.id).map_err(xen_failure)? {
                if status.status == ChannelState::Pirq as u32 {
                    bind_port(host, domain.id.0, status.port, status.vcpu);
                }
            }
        }
        Ok(true)
    }

    /// Reads everything.
    fn gather(&mut self) -> Result<HostSnapshot, Failure> {
        let host = live::snapshot(Files::gather(self.xen)?)?;
        // From here on dumps begin behind what was printed so far.
        self.console.read(self.xen).map_err(|error| failure(&error))?;
        Ok(host)
    }
}

impl<H: Hypercalls + ForeignMemory> Toolstack for LiveHost<'_, H> {
    fn look(&mut self) -> Result<HostSnapshot, Failure> {
        let refreshed = match self.host.take() {
            Some(mut host) => self.refresh(&mut host)?.then_some(host),
            None => None,
        };
        let host = match refreshed {
            Some(host) => host,
            None => self.gather()?,
        };
        self.host = Some(host.clone());
        Ok(host)
    }

    fn listen(&mut self) -> Result<Fired, Failure> {
        top::listen(self.xen, self.listening).map(Fired::Counted)
    }

    fn setting(&mut self, knob: Knob) -> Result<CpuSet, Failure> {
        match knob {
            Knob::Vcpu { domain, vcpu } => {
                let hard = self.xen.hard_affinity(domain, VcpuId(vcpu)).map_err(|error| failure(&error))?;
                let hard = hard.ok_or_else(|| Failure::new(format!("{domain}v{vcpu} is not there any more")))?;
                Ok(hard.into_iter().map(CpuId).collect())
            }
            Knob::Interrupt { number } => {
                let path = format!("{INTERRUPTS}/{number}/smp_affinity_list");
                let text = fs::read_to_string(&path).map_err(|error| Failure::new(format!("{path}: {error}")))?;
                cpus(&text)
                    .ok_or_else(|| Failure::new(format!("{path}: expected a list of CPUs, got {:?}", text.trim())))
            }
        }
    }

    fn set(&mut self, knob: Knob, to: &CpuSet) -> Result<(), Failure> {
        match knob {
            Knob::Vcpu { domain, vcpu } => {
                let list: Vec<u32> = to.iter().map(|cpu| cpu.0).collect();
                let set = self.xen.set_hard_affinity(domain, VcpuId(vcpu), &list);
                set.map(|_| ()).map_err(|error| failure(&error))
            }
            Knob::Interrupt { number } => {
                let list: Vec<String> = to.iter().map(|cpu| cpu.0.to_string()).collect();
                write_list(&format!("{INTERRUPTS}/{number}/smp_affinity_list"), &list.join(","))
            }
        }
    }

    fn reattach(&mut self, guest: DomainId, function: &str) -> Result<(), Failure> {
        let domain = guest.0.to_string();
        run("xl", &["pci-detach", &domain, function])?;
        run("xl", &["pci-attach", &domain, function])
            .map_err(|failure| failure.hint(format!("it is detached now: xl pci-attach {domain} {function}")))
    }

    fn pause(&mut self) {
        thread::sleep(PAUSE);
    }
}

/// Which interrupts there are, and whose.
fn who(irqs: &IrqDump) -> Vec<(u32, Vec<(DomainId, i32)>)> {
    let binders = |irq: &IrqLine| irq.binders().iter().map(|binder| (binder.domain, binder.pirq)).collect();
    irqs.irqs.iter().map(|irq| (irq.irq, binders(irq))).collect()
}

/// Notes where a vCPU may run.
fn place_vcpu(host: &mut HostSnapshot, domain: u16, number: u32, cpu: u32, hard: &[u32]) {
    let dumped = host.domains.iter_mut().flat_map(|dump| &mut dump.domains).filter(|one| one.id.0 == domain);
    for vcpu in dumped.flat_map(|domain| &mut domain.vcpus).filter(|vcpu| vcpu.vcpu == number) {
        vcpu.cpu = CpuId(cpu);
        vcpu.hard_affinity = hard.iter().copied().map(CpuId).collect();
    }
}

/// Notes which vCPU handles a port.
fn bind_port(host: &mut HostSnapshot, domain: u16, port: u32, vcpu: u32) {
    let dumped = host.events.iter_mut().flat_map(|dump| &mut dump.domains).filter(|one| one.domain.0 == domain);
    for line in dumped.flat_map(|ports| &mut ports.ports).filter(|line| line.port == port) {
        if matches!(line.binding, Binding::Pirq { .. }) {
            line.vcpu = vcpu;
        }
    }
}

/// CPUs as the kernel lists them: `0-3,6`.
fn cpus(list: &str) -> Option<CpuSet> {
    /// More CPUs than any kernel has.
    const MOST: u32 = 1 << 16;
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < MOST);
    let mut cpus = CpuSet::new();
    for part in list.trim().split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        (first..=last).for_each(|cpu| {
            cpus.insert(CpuId(cpu));
        });
    }
    Some(cpus)
}

/// Writes what the kernel takes in one piece.
fn write_list(path: &str, list: &str) -> Result<(), Failure> {
    let written = fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(list.as_bytes()));
    written.map_err(|error| {
        let failure = Failure::new(format!("{path} does not take {list:?}: {error}"));
        match error.kind() {
            io::ErrorKind::PermissionDenied => failure.hint("run it as root (sudo)"),
            // EIO: the kernel keeps the interrupt where its driver asked for it.
            _ => failure
                .hint("the driver may have asked for managed interrupts, which the kernel does not let anybody move"),
        }
    })
}

/// Runs one of Xen's tools.
fn run(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let typed = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| Failure::new(format!("{}: {error}", typed())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{}: {}: {}", typed(), output.status, said.lines().last().unwrap_or_default())))
}

/// Whether a program that moves interrupts of its own accord runs in dom0.
pub(crate) fn irqbalance_runs() -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let name = |path: &Path| fs::read_to_string(path.join("comm")).unwrap_or_default();
    processes.flatten().any(|process| name(&process.path()).trim() == "irqbalance")
}

#[cfg(test)]
mod tests {
    use carillon_sim::snapshot::HostSnapshot;
    use carillon_sim::snapshot::Recorded;
    use vector_allocator::CpuId;
    use vector_allocator::CpuSet;
    use vector_allocator::DomainId;

    use super::bind_port;
    use super::cpus;
    use super::place_vcpu;
    use super::write_list;

    #[test]
    fn a_kernel_s_list_of_cpus_is_read_and_nonsense_is_not() {
        let set = |numbers: &[u32]| -> CpuSet { numbers.iter().copied().map(CpuId).collect() };
        assert_eq!(cpus("0-3\n"), Some(set(&[0, 1, 2, 3])));
        assert_eq!(cpus("1,4-5,70"), Some(set(&[1, 4, 5, 70])));
        for nonsense in ["", "x", "3-", "0-99999999999", "0-70000", "1,,2"] {
            assert_eq!(cpus(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn what_is_read_again_of_a_host_moves_what_follows_a_vcpu() {
        let mut host = HostSnapshot::recorded(Recorded::SasNic).expect("a recording");
        let reach = |host: &HostSnapshot, irq: u32| {
            host.sources().into_iter().find(|source| source.irq == irq).expect("the source").reachable
        };
        assert_eq!(reach(&host, 26), CpuSet::first_n(4));
        place_vcpu(&mut host, 1, 0, 0, &[0]);
        assert_eq!(reach(&host, 26), CpuSet::single(CpuId(0)));
        // Dom0's disk goes to another vCPU, and with it to where that may run.
        let port = host.events.as_ref().and_then(|dump| dump.domain(DomainId::DOM0)).expect("dom0's ports");
        let line = port.pirqs().find(|(_, pirq, _)| *pirq == 647).expect("the disk's").0.port;
        place_vcpu(&mut host, 0, 3, 3, &[3]);
        bind_port(&mut host, 0, line, 3);
        assert_eq!(reach(&host, 25), CpuSet::single(CpuId(3)));
    }

    #[test]
    fn a_file_that_is_not_there_or_takes_nothing_is_named() {
        let error = write_list("/proc/irq/no-such/smp_affinity_list", "1").unwrap_err().to_string();
        assert!(error.contains("/proc/irq/no-such") && error.contains("\"1\""), "{error}");
    }
}
