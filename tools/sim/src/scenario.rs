//! Scenarios: what is to be simulated, as a person writes it in TOML.
//!
//! A [`Scenario`] is plain data, read from a file, shipped with the program or built from a recorded host. It is checked
//! and turned into a machine by [`Scenario::setup`].

mod channels;
mod engine;
pub(crate) mod fault;
mod layout;
mod lease;
mod mask;
mod path;
mod planned;
mod setup;
mod shipped;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::Workload;
use crate::regular_file;

pub use engine::Engine;
pub use fault::Fault;
pub use fault::Place;
pub use fault::ScenarioError;
pub use fault::What;
pub use layout::Layout;
pub use layout::VectorRanges;
pub use mask::CpuMask;
pub use setup::Setup;
pub use shipped::Shipped;

/// The largest file of a scenario, bytes.
const LARGEST: u64 = 16 << 20;

/// A machine, what runs on it, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it is about, in a sentence or two.
    #[serde(default)]
    pub about: String,
    /// What is to be seen in the result, for the reader of a report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<String>,
    /// Where the vectors come from.
    #[serde(default)]
    pub policy: VectorPolicy,
    /// The path of guests' devices.
    #[serde(default)]
    pub path: DevicePath,
    /// How guests' local APICs are served, where their domains do not say.
    #[serde(default, skip_serializing_if = "Engine::is_chosen")]
    pub engine: Engine,
    /// The factor on every workload's rate.
    #[serde(default = "one")]
    pub load: f64,
    /// The seed of every random choice.
    #[serde(default = "first_seed")]
    pub seed: u64,
    /// How long, ms of virtual time.
    pub duration_ms: f64,
    /// The machine.
    pub host: Host,
    /// Costs that differ from their defaults, ns, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs_ns: BTreeMap<String, u64>,
    /// The domains, dom0 among them.
    #[serde(default, rename = "domain")]
    pub domains: Vec<Domain>,
    /// The interrupt sources.
    #[serde(default, rename = "source")]
    pub sources: Vec<Source>,
}

/// Where the vectors come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VectorPolicy {
    /// As the scenario gives them; what it leaves open is leased as Xen does.
    #[default]
    Recorded,
    /// All leased anew, as Xen does.
    XenCursor,
    /// All leased anew, as Linux does.
    Spread,
    /// All leased anew, every guest's below dom0's.
    BelowDom0,
    /// As the scenario gives them, then moved as the planner says.
    Planned,
}

/// The path of guests' devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DevicePath {
    /// As the scenario gives it, source by source.
    #[default]
    AsIs,
    /// Event channels.
    Event,
    /// Taken by the host and injected as guest vectors; guests become hardware-assisted for it.
    Remapped,
    /// Posted by the IOMMU where it can: message-signalled interrupts, to an engine that takes them; the others are remapped.
    Posted,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// How many physical CPUs.
    pub cpus: u32,
    /// Whose order of virtual against physical interrupts holds.
    #[serde(default)]
    pub vendor: Vendor,
    /// How external interrupts are addressed.
    #[serde(default)]
    pub destinations: Destinations,
    /// How level-triggered interrupts are acknowledged.
    #[serde(default)]
    pub ioapic_ack: IoApicAck,
    /// Which vectors there are.
    #[serde(default)]
    pub layout: Layout,
    /// Who runs where and when.
    #[serde(default)]
    pub scheduler: Scheduler,
}

/// The processor's maker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vendor {
    /// Virtual interrupts go before physical ones.
    #[default]
    Intel,
    /// Physical interrupts go first.
    Amd,
}

/// How external interrupts are addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destinations {
    /// One CPU each; a move takes a new vector.
    #[default]
    Physical,
    /// Flat logical: one cluster of eight.
    Flat,
    /// Logical x2APIC clusters of 16.
    X2apicCluster,
}

/// How level-triggered interrupts are acknowledged (Xen: `ioapic_ack=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoApicAck {
    /// At the end of service.
    #[default]
    New,
    /// Masked and acknowledged at once.
    Old,
}

/// The scheduler of vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scheduler {
    /// Xen's default.
    Credit2 {
        /// How long a vCPU has run before one that wakes makes its CPU look, µs (`sched_ratelimit_us`).
        #[serde(default = "ratelimit")]
        ratelimit_us: f64,
        /// The longest a vCPU runs while another waits, µs.
        #[serde(default = "slice")]
        slice_us: f64,
    },
    /// One vCPU to a pCPU.
    Null,
    /// Each vCPU where it starts.
    Pinned {
        /// The longest a vCPU runs while another waits, µs.
        #[serde(default = "slice")]
        slice_us: f64,
    },
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::Credit2 { ratelimit_us: ratelimit(), slice_us: slice() }
    }
}

/// A domain, or several alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Its number; 0 is the control domain.
    pub id: u16,
    /// What a person calls it; copies append their number.
    pub name: String,
    /// How it is virtualized.
    pub kind: DomainKind,
    /// How its vCPUs' local APICs are served; without it, as the host's. A paravirtual domain has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// How it and the hypervisor share which events are pending.
    #[serde(default, skip_serializing_if = "EventAbi::is_default")]
    pub event_abi: EventAbi,
    /// Whether the events that software sends it end only when their handlers are done (late EOI), and later still in a
    /// storm.
    #[serde(default, skip_serializing_if = "is_not")]
    pub late_eoi: bool,
    /// How many like it, numbered from [`id`](Self::id) on.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub copies: u32,
    /// What its handlers of vectors leave for later, at a raised task priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<DeferredWork>,
    /// Its vCPUs.
    #[serde(rename = "vcpu")]
    pub vcpus: Vec<Vcpu>,
}

/// What a guest's handlers leave for later, done with interrupts on and the task priority raised (Windows: its dispatch level).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeferredWork {
    /// The class that the task priority is raised to, 1 to 15: interrupts of it and below are held back.
    pub class: u8,
    /// How long a handler's takes, µs.
    pub lasts_us: f64,
}

/// How a domain is virtualized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainKind {
    /// Paravirtual.
    Pv,
    /// Hardware-assisted.
    Hvm,
}

/// A domain's event-channel ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventAbi {
    /// Event words and 16 queues a vCPU, by priority.
    #[default]
    #[serde(rename = "fifo")]
    Fifo,
    /// Two bitmaps; no priorities.
    #[serde(rename = "2-level")]
    TwoLevel,
}

/// A virtual CPU, or several alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vcpu {
    /// Where it may run.
    #[serde(default)]
    pub affinity: CpuMask,
    /// Where it starts; without it, the first CPU of its affinity. Those of one entry, copies of the domain among them, go
    /// round their affinity from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u32>,
    /// How many like it.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub copies: u32,
    /// What it does besides handling interrupts.
    #[serde(default)]
    pub load: Load,
}

/// What a vCPU does besides handling interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Load {
    /// Nothing.
    #[default]
    Idle,
    /// It computes all the time it gets.
    Busy,
    /// It computes for a while, then sleeps for a while.
    Periodic {
        /// How long it computes, µs.
        run_us: f64,
        /// How long it then sleeps, µs.
        sleep_us: f64,
    },
}

/// An interrupt source, or several alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its number: the IRQ number on Xen. Two level-triggered sources of one number are one shared line.
    pub id: u32,
    /// What a person calls it; copies append their number.
    pub label: String,
    /// The domain whose it is; none for the hypervisor's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<u16>,
    /// The vCPU that handles it.
    #[serde(default)]
    pub vcpu: u32,
    /// The vCPU that sends it, on the path `ipi`; without it, the one after the one that handles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// How it signals.
    #[serde(default)]
    pub kind: SourceKind,
    /// How many like it, numbered from [`id`](Self::id) on; they go round the copies of their domain, then round its vCPUs.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub copies: u32,
    /// Its host vector, 16 to 255; without it, the policy leases one. Unused while the source is posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<u8>,
    /// The CPU it is sent to; without it, where its vCPU starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// How it reaches its handler.
    #[serde(default)]
    pub path: DeliveryPath,
    /// While it is an event, its FIFO priority, 0 (taken first) to 15; without it, 7. The 2-level ABI has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The vector in the guest's own numbering; without it, one is chosen where the path needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_vector: Option<u8>,
    /// How long its handler takes, to its EOI, µs.
    pub handler_us: f64,
    /// When it raises its interrupt.
    #[serde(default)]
    pub workload: Workload,
    /// The CPUs it can come to without anyone deciding so; without it, its vCPU's affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<CpuMask>,
    /// The CPUs on which its vector is taken, where those are fewer than the host's addressing asks for: Xen leaves such
    /// sources from its boot, when no other CPU was online. Inspection and planning heed it; a run takes the vector wherever
    /// the addressing asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<CpuMask>,
    /// Why a plan may not move it; without it, a plan may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

/// How a source signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// MSI-X, MSI with mask bits, or an edge pin.
    #[default]
    Edge,
    /// MSI without mask bits.
    EdgeUnmaskable,
    /// A level-triggered pin of an IO-APIC.
    Level,
    /// No hardware: an event that software sends, such as a virtual device's.
    Software,
}

/// How an interrupt reaches its handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryPath {
    /// An event on a port, or for the hypervisor's own sources its handler.
    #[default]
    Event,
    /// The host takes it and injects a guest vector.
    Remapped,
    /// The IOMMU posts a guest vector; the host injects it where the engine has nothing to post to.
    Posted,
    /// Another vCPU of the domain sends it as a guest vector: of kind `software`.
    Ipi,
    /// For the hypervisor's own sources: a handler that runs with interrupts on.
    Interruptible,
}

impl VectorPolicy {
    /// All of them, in the order of a comparison.
    pub const ALL: [Self; 5] = [Self::Recorded, Self::XenCursor, Self::Spread, Self::BelowDom0, Self::Planned];

    /// Its name, as in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::XenCursor => "xen-cursor",
            Self::Spread => "spread",
            Self::BelowDom0 => "below-dom0",
            Self::Planned => "planned",
        }
    }
}

impl EventAbi {
    /// Its name, as in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::TwoLevel => "2-level",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl DevicePath {
    /// All of them, in the order of a comparison.
    pub const ALL: [Self; 4] = [Self::AsIs, Self::Event, Self::Remapped, Self::Posted];

    /// Its name, as in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as-is",
            Self::Event => "event",
            Self::Remapped => "remapped",
            Self::Posted => "posted",
        }
    }
}

impl Scenario {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// [`ScenarioError`] when the file is no regular file, is above 16 MiB or cannot be read, or as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let text = text_of(path).map_err(|error| ScenarioError::Read { file: file.clone(), error })?;
        Self::parse(&file, &text)
    }

    /// Reads a scenario from text; `file` names it in errors. What it says is checked to the last number: a scenario that
    /// is read can be run.
    ///
    /// # Errors
    /// [`ScenarioError`] with file, line and what was expected.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::syntax(file, text, &error))?;
        match scenario.setup() {
            Ok(_) => Ok(scenario),
            Err(fault) => Err(ScenarioError::fault(file, text, fault)),
        }
    }

    /// The scenario as text that [`parse`](Self::parse) reads back.
    ///
    /// # Errors
    /// When a number does not fit into TOML: a seed or a time above 2⁶³ − 1.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

impl fmt::Display for VectorPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DevicePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text of a scenario's file.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    regular_file::open_to_read(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {LARGEST} bytes")));
    }
    Ok(text)
}

fn one() -> f64 {
    1.0
}

fn first_seed() -> u64 {
    1
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_not(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_once(copies: &u32) -> bool {
    *copies == 1
}

/// Xen's default `sched_ratelimit_us`.
fn ratelimit() -> f64 {
    1000.0
}

/// Xen's `CSCHED2_MAX_TIMER`.
fn slice() -> f64 {
    2000.0
}

#[cfg(test)]
mod tests;
