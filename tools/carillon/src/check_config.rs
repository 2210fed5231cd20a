//! `carillon check-config`: which path each device of a guest's configuration takes, whether its interrupts fit, and what to
//! change.

use carillon_sim::import::PassedThrough;
use carillon_sim::import::PciFunction;
use carillon_sim::import::Source;
use carillon_sim::import::xl_config;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::SourceFacts;
use hypervisor_lib::fabric::DomainKind;
use hypervisor_lib::fabric::Path;
use hypervisor_lib::fabric::Signal;
use serde::Serialize;
use vector_allocator::Arrival;
use vector_allocator::CapacityRequest;
use vector_allocator::DestinationModel;
use vector_allocator::Devices;
use vector_allocator::Domains;
use vector_allocator::EventAbi;
use vector_allocator::Holder;
use vector_allocator::HostLimits;
use vector_allocator::LimitKind;
use vector_allocator::MsiDestination;
use vector_allocator::SourceKind;
use vector_allocator::Spread;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

use crate::advice::Finding;
use crate::advice::Findings;
use crate::capacity;
use crate::capacity::Row;
use crate::cli::ArrivalName;
use crate::cli::CheckConfigArgs;
use crate::cli::HostArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::guest::Guest;
use crate::guest::HostAbilities;
use crate::guest::PathFinding;
use crate::hosts;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Tone;
use crate::quantity::many;

/// What was found out about a configuration.
#[derive(Debug, Serialize)]
struct Check {
    config: String,
    host: Option<String>,
    guest: GuestRow,
    devices: Vec<DeviceRow>,
    limits: Vec<Row>,
    fits: bool,
    /// What stands in the way.
    problems: Vec<Finding>,
    /// What may be changed.
    advice: Vec<Finding>,
    /// What cannot be told.
    open: Vec<String>,
}

/// The guest as a whole.
#[derive(Debug, Serialize)]
struct GuestRow {
    name: Option<String>,
    kind: &'static str,
    vcpus: u32,
    /// Whether it may map physical IRQs to events.
    pirqs: bool,
    pirqs_because: &'static str,
    max_event_channels: u32,
    extra_guest_irqs: u32,
}

/// One entry of the list of devices.
#[derive(Debug, Serialize)]
struct DeviceRow {
    address: String,
    line: u32,
    /// What stands there on the host.
    names: Vec<String>,
    interrupts: u32,
    interrupts_because: &'static str,
    /// If it signals by MSI or MSI-X.
    message: PathRow,
    /// If it signals by its line.
    line_interrupt: PathRow,
}

/// The path of an interrupt.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct PathRow {
    /// None if it depends on what is not recorded.
    path: Option<String>,
    because: String,
}

/// Base class and subclass of controllers whose drivers ask for an interrupt for each CPU: SCSI, RAID, SAS, NVMe, Ethernet.
const MULTI_QUEUE: [u32; 5] = [0x0100, 0x0104, 0x0107, 0x0108, 0x0200];

/// Checks the configuration.
pub(crate) fn run(args: &CheckConfigArgs, out: Output) -> Result<Verdict, Failure> {
    let source = Source::read(&args.config).map_err(|error| Failure::caused(&error))?;
    let hint = "the syntax is xl.cfg(5)'s";
    let config = xl_config::parse(&source).map_err(|error| Failure::caused(&error).hint(hint))?;
    let host = match (&args.from, args.recorded, args.live) {
        (None, None, false) => None,
        (from, recorded, live) => hosts::load(&HostArgs { from: from.clone(), recorded, live })?.pop(),
    };
    let abilities = host.as_ref().map(HostAbilities::of).unwrap_or_default();
    let guest = Guest::of(&config, &abilities).map_err(|error| Failure::caused(&error).hint(hint))?;
    let check = Check::of(source.name(), host.as_ref(), &abilities, &guest, args.interrupts);
    out.print(&check, args.output.format())?;
    Ok(Verdict::no_if(!check.problems.is_empty()))
}

impl Check {
    fn of(
        config: &str,
        host: Option<&HostSnapshot>,
        abilities: &HostAbilities,
        guest: &Guest,
        interrupts: Option<u32>,
    ) -> Self {
        let mut findings = Findings::default();
        findings.look_at_guest(guest, abilities);
        let mut devices = Vec::new();
        for entry in &guest.devices {
            let functions = host.and_then(|host| functions_of(host, entry));
            findings.look_at_device(guest, entry, functions.as_deref());
            let sources = host.map(|host| sources_of(host, functions.as_deref())).unwrap_or_default();
            let is_guests_line = |source: &&SourceFacts| source.kind == SourceKind::Level && source.owner.is_guest();
            if let Some(line) = sources.iter().find(is_guests_line) {
                findings.look_at_line(guest, entry, line.irq);
            }
            let asked = Asked::of(guest, functions.as_deref(), &sources, interrupts);
            devices.push(DeviceRow::of(guest, abilities, entry, functions.as_deref(), asked));
        }
        let limits = limits(host, abilities, guest, devices.iter().map(|device| device.interrupts));
        for limit in limits.iter().filter(|limit| !limit.is_met) {
            findings.problems.push(Finding {
                about: "the guest".to_owned(),
                option: limit.remedy.clone(),
                why: format!("{}: {} are needed, there are {}", limit.limit, limit.needed, limit.available),
            });
        }
        if findings.problems.is_empty() {
            findings.hint_at_permissive(guest);
        }
        Self {
            config: config.to_owned(),
            host: host.map(|host| host.name.clone()),
            guest: GuestRow {
                name: guest.name.clone(),
                kind: word(guest.kind),
                vcpus: guest.vcpus,
                pirqs: guest.pirqs.are_offered(),
                pirqs_because: guest.pirqs.evidence(),
                max_event_channels: guest.max_event_channels,
                extra_guest_irqs: abilities.extra_guest_irqs.unwrap_or(HostLimits::EXTRA_GUEST_IRQS),
            },
            devices,
            fits: limits.iter().all(|limit| limit.is_met),
            limits,
            problems: findings.problems,
            advice: findings.advice,
            open: open(host, abilities),
        }
    }
}

const fn word(kind: DomainKind) -> &'static str {
    match kind {
        DomainKind::Pv => "pv",
        DomainKind::Hvm => "hvm",
        DomainKind::Pvh => "pvh",
    }
}

/// The host's functions that an entry stands for; none if the host's functions were not recorded.
fn functions_of<'h>(host: &'h HostSnapshot, entry: &PassedThrough) -> Option<Vec<&'h PciFunction>> {
    let all = host.functions.as_ref()?.iter();
    let address = entry.address();
    Some(match entry.function {
        Some(_) => all.filter(|function| function.address == address).collect(),
        None => all.filter(|function| function.address.starts_with(&format!("{}.", entry.device))).collect(),
    })
}

/// The sources the recorded host knows of some functions.
fn sources_of(host: &HostSnapshot, functions: Option<&[&PciFunction]>) -> Vec<SourceFacts> {
    let is_of = |source: &SourceFacts| {
        let functions = functions.unwrap_or_default().iter();
        functions.map(|function| &function.address).any(|address| source.function.as_ref() == Some(address))
    };
    host.sources().into_iter().filter(is_of).collect()
}

/// How many interrupts an entry asks for, and how that is known.
struct Asked {
    interrupts: u32,
    because: &'static str,
}

impl Asked {
    fn of(guest: &Guest, functions: Option<&[&PciFunction]>, sources: &[SourceFacts], interrupts: Option<u32>) -> Self {
        let count = functions.map_or(1, |functions| u32::try_from(functions.len()).unwrap_or(u32::MAX));
        if let Some(each) = interrupts {
            return Self { interrupts: count.saturating_mul(each), because: "as asked for" };
        }
        // While pciback keeps a device, all that is seen of it is its line.
        let messages = sources.iter().filter(|source| source.kind != SourceKind::Level).count();
        if messages > 0 {
            let interrupts = u32::try_from(messages).unwrap_or(u32::MAX);
            return Self { interrupts, because: "as recorded on the host" };
        }
        let per_vcpu = guest.vcpus.saturating_add(1);
        let Some(functions) = functions else {
            return Self { interrupts: per_vcpu, because: "assumed: one for each vCPU and one more" };
        };
        let is_multi_queue = |function: &&PciFunction| MULTI_QUEUE.contains(&(function.class >> 8));
        let each = |function: &&PciFunction| if is_multi_queue(function) { per_vcpu } else { 1 };
        let interrupts = functions.iter().map(each).fold(0, u32::saturating_add);
        let because = match functions.iter().any(is_multi_queue) {
            true => "assumed: one for each vCPU and one more, as such controllers' drivers ask for",
            false => "assumed: one",
        };
        Self { interrupts, because }
    }
}

impl DeviceRow {
    fn of(
        guest: &Guest,
        abilities: &HostAbilities,
        entry: &PassedThrough,
        functions: Option<&[&PciFunction]>,
        asked: Asked,
    ) -> Self {
        let name = |function: &&PciFunction| {
            format!("{} {:04x}:{:04x}", function.class_name(), function.vendor, function.device)
        };
        Self {
            address: entry.address(),
            line: entry.line,
            names: functions.unwrap_or_default().iter().map(name).collect(),
            interrupts: asked.interrupts,
            interrupts_because: asked.because,
            message: PathRow::of(guest.path(abilities, Signal::DeviceMsi)),
            line_interrupt: PathRow::of(guest.path(abilities, Signal::DeviceIntx)),
        }
    }
}

impl PathRow {
    fn of(finding: PathFinding) -> Self {
        match finding {
            PathFinding::Known(route) => Self { path: Some(route.path.to_string()), because: route.reason.to_string() },
            PathFinding::ByProcessor(with, without) => {
                let because = format!(
                    "{} if the processor virtualizes the local APIC, {} if not: Xen's boot log says which (xl-dmesg.txt)",
                    with.path, without.path
                );
                Self { path: None, because }
            }
        }
    }
}

/// The limits the guest's devices meet on the way to its kernel.
fn limits(
    host: Option<&HostSnapshot>,
    abilities: &HostAbilities,
    guest: &Guest,
    interrupts: impl Iterator<Item = u32>,
) -> Vec<Row> {
    let total = interrupts.fold(0, u32::saturating_add);
    if total == 0 {
        return Vec::new();
    }
    let is_event = match guest.path(abilities, Signal::DeviceMsi) {
        PathFinding::Known(route) => route.path == Path::PirqEvent,
        PathFinding::ByProcessor(with, without) => [with, without].iter().any(|route| route.path == Path::PirqEvent),
    };
    let arrival = if is_event { ArrivalName::Fifo } else { ArrivalName::LocalApic };
    let known = host.map(capacity::limits).unwrap_or_else(|| {
        HostLimits::with_defaults(1, VectorLayout::xen(XenLayout::default()), DestinationModel::Physical)
    });
    let request = CapacityRequest {
        // All devices as one: what counts are the guest's interrupts together.
        devices: Devices {
            count: 1,
            queues: total,
            control_interrupts: 0,
            signal: vector_allocator::Signal::MsiX,
            spread: Spread::OnDemand,
        },
        holder: Holder {
            domains: Domains::Guests(1),
            vcpus: guest.vcpus,
            arrival: match arrival {
                ArrivalName::LocalApic => Arrival::LocalApic(MsiDestination::Bits8),
                ArrivalName::Fifo | ArrivalName::TwoLevel | ArrivalName::TwoLevel32 => {
                    Arrival::EventChannels(EventAbi::Fifo)
                }
            },
            irqs_taken: 0,
            events_taken: capacity::events_of_linux(guest.vcpus, arrival),
            vectors_taken: 0,
        },
        host: HostLimits {
            extra_guest_irqs: abilities.extra_guest_irqs.unwrap_or(HostLimits::EXTRA_GUEST_IRQS),
            max_event_channels: guest.max_event_channels,
            ..known
        },
    };
    let answer = vector_allocator::capacity(&request);
    // Without a host only the guest's own limits can be told, and those of one device are no limits of several.
    let applies = |kind: LimitKind| match kind {
        LimitKind::DeviceInterrupts => false,
        LimitKind::HostVectors | LimitKind::HostIrqs | LimitKind::HostDestination => host.is_some(),
        _ => true,
    };
    answer.limits.iter().filter(|limit| applies(limit.kind)).map(Row::of).collect()
}

/// What cannot be told, and what would tell it.
fn open(host: Option<&HostSnapshot>, abilities: &HostAbilities) -> Vec<String> {
    let Some(host) = host else {
        return vec![
            "no host was named: --from DIR or --recorded NAME adds its version, its abilities, its vectors and its devices"
                .to_owned(),
        ];
    };
    let mut open = Vec::new();
    if host.info.is_none() {
        open.push("Xen's version and command line: xl-info.txt is missing".to_owned());
    }
    if abilities.apic_virtualized.is_none() {
        let why = "whether the processor virtualizes the local APIC, and the IOMMU posts: xl-dmesg.txt is missing or does \
                   not begin with the boot";
        open.push(why.to_owned());
    }
    if host.functions.is_none() {
        open.push("whether the devices are there, and who drives them: pci.txt is missing".to_owned());
    }
    open
}

impl Answer for Check {
    fn show(&self, page: &mut Page) {
        let name = self.guest.name.as_deref().unwrap_or("a guest without a name");
        let host = self.host.as_deref().unwrap_or("a host that was not named");
        page.title(&format!("{} ({name}) on {host}", self.config));
        let guest = &self.guest;
        page.line(
            Tone::Plain,
            &format!(
                "{} guest, {}; max_event_channels {}; extra_guest_irqs {}.",
                guest.kind.to_uppercase(),
                many(guest.vcpus, "vCPU"),
                guest.max_event_channels,
                guest.extra_guest_irqs
            ),
        );
        page.line(Tone::Faint, &format!("  {}", guest.pirqs_because));
        if self.devices.is_empty() {
            page.line(Tone::Plain, "No device is passed through: all of its interrupts are virtual.");
        }
        for device in &self.devices {
            device.show(page);
        }
        if !self.limits.is_empty() {
            page.heading("Whether the interrupts fit");
            Row::table(&self.limits, page);
        }
        show(page, "What stands in the way", &self.problems, Tone::Bad);
        show(page, "What you can change", &self.advice, Tone::Warn);
        if self.problems.is_empty() {
            page.heading("Verdict");
            page.line(Tone::Good, "Nothing that can be told from here stands in the way.");
        }
        if !self.open.is_empty() {
            page.heading("What is left open");
            for what in &self.open {
                page.line(Tone::Faint, &format!("  • {what}"));
            }
        }
    }
}

impl DeviceRow {
    fn show(&self, page: &mut Page) {
        let names = if self.names.is_empty() { String::new() } else { format!(": {}", self.names.join(", ")) };
        page.heading(&format!("{} (line {}){names}", self.address, self.line));
        page.line(Tone::Plain, &format!("{}, {}.", many(self.interrupts, "interrupt"), self.interrupts_because));
        for (signal, path) in [("by MSI or MSI-X", &self.message), ("by its line", &self.line_interrupt)] {
            let tone = if path.path.is_some() { Tone::Plain } else { Tone::Warn };
            let name = path.path.as_deref().unwrap_or("not known");
            page.line(tone, &format!("  • {signal}: {name}: {}", path.because));
        }
    }
}

fn show(page: &mut Page, heading: &str, findings: &[Finding], tone: Tone) {
    if findings.is_empty() {
        return;
    }
    page.heading(heading);
    for finding in findings {
        let option = finding.option.as_ref().map(|option| format!(" → {option}")).unwrap_or_default();
        page.line(tone, &format!("  • {}{option}", finding.about));
        page.line(Tone::Plain, &format!("    {}", finding.why));
    }
}
