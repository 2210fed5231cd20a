//! What the crate does on a real host, case by case: run in dom0 of the test bed (`tests/xen`), which judges each line it
//! writes. Every case looks at something another way knows, too: the console's banner, a port that talks to itself.

use std::error::Error;
use std::fs;
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use carillon_xen_host::ConsoleReader;
use carillon_xen_host::DebugKey;
use carillon_xen_host::EventChannels;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::Privcmd;
use carillon_xen_host::TraceBuffers;
use carillon_xen_host::TraceSize;
use carillon_xen_host::XenStore;
use hypervisor_abi::DomainId;
use hypervisor_abi::event::ChannelState;
use hypervisor_abi::trace;

type Outcome = Result<(), Box<dyn Error>>;

/// A case and its name.
type Case = (&'static str, fn() -> Outcome);

/// How long an event may take.
const AN_EVENT: Duration = Duration::from_secs(10);

/// An error that says what did not hold.
fn holds(condition: bool, what: impl Into<String>) -> Outcome {
    if condition { Ok(()) } else { Err(what.into().into()) }
}

fn open() -> Result<Hypervisor<Privcmd>, Box<dyn Error>> {
    Ok(Hypervisor::new(Privcmd::open()?)?)
}

fn versions() -> Outcome {
    let xen = open()?;
    let version = xen.version()?;
    let minor = fs::read_to_string("/sys/hypervisor/version/minor")?;
    holds(version.minor.to_string() == minor.trim(), format!("{version}, but the kernel says minor {minor}"))?;
    let seen = (xen.sysctl_version(), xen.domctl_version());
    holds(version.minor != 17 || seen == (0x15, 0x15), format!("interfaces {seen:x?} of Xen {version}"))?;
    holds(xen.command_line()?.contains("dom0_max_vcpus"), xen.command_line()?)
}

fn machine() -> Outcome {
    let xen = open()?;
    let machine = xen.physical_info()?;
    let topology = xen.cpu_topology()?;
    holds(machine.nr_cpus as usize == topology.len(), format!("{} CPUs, {topology:?}", machine.nr_cpus))?;
    holds(topology.iter().all(|cpu| cpu.socket != u32::MAX), format!("{topology:?}"))?;
    holds(xen.scheduler()?.to_string() == "credit2", xen.scheduler()?.to_string())
}

fn console() -> Outcome {
    let xen = open()?;
    let mut console = ConsoleReader::default();
    for _ in 0..2 {
        let dump = console.dump(&xen, DebugKey::Irqs)?;
        let text = String::from_utf8(dump.text)?;
        holds(text.matches("IRQ information:").count() == 1, format!("headings in {text}"))?;
        holds(text.contains("Direct vector information:") && text.contains("IO-APIC interrupt information:"), text)?;
    }
    let again = ConsoleReader::default().read(&xen)?;
    let text = String::from_utf8_lossy(&again.text);
    holds(text.matches("IRQ information:").count() >= 2, "the ring was emptied")
}

fn domains() -> Outcome {
    let xen = open()?;
    let domains = xen.domains()?;
    let dom0 = domains.first().ok_or("no domain")?;
    holds(dom0.id == DomainId::DOM0 && dom0.online_vcpus == 1, format!("{dom0:?}"))?;
    let vcpus = xen.vcpus(dom0)?;
    let [vcpu] = vcpus.as_slice() else { return Err(format!("{vcpus:?}").into()) };
    holds(vcpu.is_online && vcpu.is_running && vcpu.cpu == 0 && vcpu.hard == [0], format!("{vcpu:?}"))?;
    holds(vcpu.cpu_time_ns > 0 && dom0.cpu_time_ns > 0, format!("{vcpu:?}"))
}

/// A port of dom0's that is connected to itself carries events, and the hypervisor says what it is.
fn event_channels() -> Outcome {
    let (offering, connected) = (EventChannels::open()?, EventChannels::open()?);
    let offered = offering.bind_unbound(DomainId::DOM0)?;
    let port = connected.bind_interdomain(DomainId::DOM0, offered)?;
    // Connecting raises one event.
    holds(connected.wait(AN_EVENT)? == Some(port), "no event on connecting")?;
    connected.unmask(port)?;
    for _ in 0..3 {
        offering.notify(offered)?;
        holds(connected.wait(AN_EVENT)? == Some(port), "no event")?;
        connected.unmask(port)?;
        connected.notify(port)?;
        holds(offering.wait(AN_EVENT)? == Some(offered), "no event back")?;
        offering.unmask(offered)?;
    }
    holds(connected.wait(Duration::ZERO)?.is_none(), "an event nobody sent")?;
    let state = |ports: &[hypervisor_abi::event::Status]| {
        ports.iter().find(|status| status.port == port.0).map(|status| (status.status, status.remote_port))
    };
    let xen = open()?;
    let seen = state(&xen.ports(DomainId::DOM0)?);
    holds(seen == Some((ChannelState::Interdomain as u32, offered.0)), format!("{seen:?}"))?;
    connected.unbind(port)?;
    let seen = state(&xen.ports(DomainId::DOM0)?);
    holds(seen.is_none_or(|(state, _)| state == ChannelState::Closed as u32), format!("{seen:?} after closing"))?;
    holds(connected.notify(port).is_err(), "a closed port carries events")
}

fn xenstore() -> Outcome {
    let mut store = XenStore::open()?;
    let name = store.read("/local/domain/0/name")?;
    holds(name.as_deref() == Some("Domain-0"), format!("{name:?}"))?;
    let below = store.list("/")?;
    holds(below.iter().any(|name| name == "local"), format!("{below:?}"))?;
    holds(store.read("/no/such/path")?.is_none(), "a value where there is none")
}

/// While tracing is on, the timer's and the console's interrupts are in the buffers, framed as the importers read them.
fn traces() -> Outcome {
    let xen = open()?;
    let size = TraceSize { pages_per_cpu: NonZeroU32::new(16).ok_or("no pages")? };
    let mut buffers = TraceBuffers::start(&xen, trace::RECORDED_EVENTS, size)?;
    let mut trace = Vec::new();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(10));
        buffers.drain(&mut trace)?;
    }
    let first = trace.first_chunk::<4>().map(|word| u32::from_le_bytes(*word));
    holds(first == Some(0x2001_f003), format!("{first:x?} of {} bytes", trace.len()))?;
    drop(buffers);
    let mut off = Vec::new();
    let table = ConsoleReader::default().read(&xen)?;
    holds(!table.text.is_empty(), "no console")?;
    // Off: nothing more is written, however long one waits.
    let mut buffers = TraceBuffers::start(&xen, 0, size)?;
    thread::sleep(Duration::from_millis(50));
    buffers.drain(&mut off)?;
    holds(off.is_empty(), format!("{} bytes of events nobody asked for", off.len()))
}

fn main() {
    let cases: [Case; 7] = [
        ("versions", versions),
        ("machine", machine),
        ("console", console),
        ("domains", domains),
        ("event_channels", event_channels),
        ("xenstore", xenstore),
        ("traces", traces),
    ];
    for (name, case) in cases {
        let verdict = match case() {
            Ok(()) => "pass",
            Err(error) => {
                println!("carillon: note case=edge.{name} text=\"{}\"", error.to_string().replace(['"', '\n'], "'"));
                "fail"
            }
        };
        println!("carillon: case name=edge.{name} verdict={verdict}");
    }
}
