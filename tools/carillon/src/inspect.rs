//! `carillon inspect`: who owns which vector on which CPU, by which path and why, and what is wrong with that.

use carillon_sim::snapshot::DomainFacts;
use carillon_sim::snapshot::Harms;
use carillon_sim::snapshot::HostFacts;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::RouteFinding;
use carillon_sim::snapshot::SourceFacts;
use serde::Serialize;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::CpuId;

use crate::cli::InspectArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::harm;
use crate::hosts;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// What was seen on the hosts.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Inspections(Vec<Inspection>);

/// What was seen on a host.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    name: String,
    host: HostFacts,
    cpus: Vec<CpuVectors>,
    /// Vectors taken by sources that nobody is bound to.
    unbound: Vec<VectorRow>,
    #[serde(flatten)]
    harms: Harms,
    notes: Vec<String>,
}

/// The vectors of one CPU, in the order in which it serves them.
#[derive(Debug, Serialize)]
struct CpuVectors {
    cpu: u32,
    vectors: Vec<VectorRow>,
}

/// One vector.
#[derive(Clone, Debug, Serialize)]
struct VectorRow {
    vector: String,
    class: u8,
    irq: u32,
    owner: String,
    /// Others on the same line.
    shared_with: Vec<String>,
    owner_evidence: String,
    device: String,
    function: Option<String>,
    pirq: Option<i32>,
    vcpu: Option<String>,
    kind: String,
    acknowledgement: String,
    path: Option<String>,
    reason: String,
    #[serde(skip)]
    is_guests: bool,
}

/// Inspects the hosts asked for.
pub(crate) fn run(args: &InspectArgs, out: Output) -> Result<Verdict, Failure> {
    let inspections: Vec<Inspection> = hosts::load(&args.host)?.iter().map(inspect).collect();
    let is_harmed = inspections.iter().any(|inspection| !inspection.harms.is_empty());
    out.print(&Inspections(inspections), args.output.format())?;
    Ok(Verdict::no_if(is_harmed))
}

/// Inspects a host.
pub(crate) fn inspect(host: &HostSnapshot) -> Inspection {
    let assignment = host.assignment();
    let facts = host.sources();
    let row = |source: &AssignedSource| {
        let facts = facts.iter().find(|facts| facts.id() == source.id);
        VectorRow::of(host, source, facts)
    };
    let vectors = |cpu| in_order(&assignment, cpu).into_iter().map(row).collect();
    Inspection {
        name: host.name.clone(),
        host: host.facts(),
        cpus: assignment.online.iter().map(|cpu| CpuVectors { cpu: cpu.0, vectors: vectors(cpu) }).collect(),
        unbound: assignment.sources.iter().filter(|source| !source.is_bound()).map(row).collect(),
        harms: Harms::of(&assignment),
        notes: host.notes.iter().map(ToString::to_string).collect(),
    }
}

/// The bound sources sent to `cpu`, in the order its local APIC serves them.
fn in_order(assignment: &Assignment, cpu: CpuId) -> Vec<&AssignedSource> {
    let here = |source: &&AssignedSource| source.is_bound() && source.target.contains(cpu);
    let mut sources: Vec<&AssignedSource> = assignment.sources.iter().filter(here).collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.vector.number()));
    sources
}

impl VectorRow {
    fn of(host: &HostSnapshot, source: &AssignedSource, facts: Option<&SourceFacts>) -> Self {
        let (path, reason) = match facts.map(|facts| host.route(facts)) {
            Some(RouteFinding::Known(route)) => (Some(route.path.to_string()), route.reason.to_string()),
            Some(RouteFinding::NoDomainDump) => {
                (None, "how its domain is virtualized is in dump-q.txt, which is missing".into())
            }
            Some(RouteFinding::NoBootLog) => (
                None,
                "what the processor can do is in xl-dmesg.txt, which is missing or does not begin with the boot".into(),
            ),
            None => (None, "nothing is known of it".into()),
        };
        let bindings = facts.map_or(&[][..], |facts| &facts.bindings[..]);
        let binding = facts.and_then(SourceFacts::owners_binding);
        let sharers = bindings.iter().filter(|binding| binding.owner() != source.owner);
        Self {
            vector: source.vector.to_string(),
            class: source.vector.class().number(),
            irq: source.id.0,
            owner: source.owner.to_string(),
            shared_with: sharers.map(|binding| binding.owner().to_string()).collect(),
            owner_evidence: facts.map(|facts| facts.owner_evidence.clone()).unwrap_or_default(),
            device: source.label.clone(),
            function: facts.and_then(|facts| facts.function.clone()),
            pirq: binding.map(|binding| binding.pirq),
            vcpu: binding.and_then(|binding| binding.vcpu).map(|vcpu| format!("{}v{}", vcpu.domain, vcpu.vcpu)),
            kind: source.kind.to_string(),
            acknowledgement: facts.map(|facts| facts.acknowledgement.clone()).unwrap_or_default(),
            path,
            reason,
            is_guests: source.owner.is_guest(),
        }
    }
}

impl Answer for Inspections {
    fn show(&self, page: &mut Page) {
        for inspection in &self.0 {
            inspection.show(page);
        }
    }
}

impl Inspection {
    /// Writes it to a page.
    pub(crate) fn show(&self, page: &mut Page) {
        page.title(&self.name);
        self.show_host(page);
        let mut reasons = Reasons::default();
        for cpu in &self.cpus {
            page.heading(&format!("pCPU {}: vectors in the order of service", cpu.cpu));
            if cpu.vectors.is_empty() {
                page.line(Tone::Faint, "none that is bound");
            }
            let columns = Columns::on(page);
            let rows = cpu.vectors.iter().map(|row| row.pieces(&mut reasons, columns)).collect();
            page.table(columns.heads(), rows);
        }
        page.heading("Why these paths");
        for (number, reason) in (1..).zip(&reasons.0) {
            page.line(Tone::Plain, &format!("  [{number}] {reason}"));
        }
        self.show_unbound(page);
        harm::show(&self.harms, page);
        if !self.notes.is_empty() {
            page.heading("What the recording leaves open");
            for note in &self.notes {
                page.line(Tone::Faint, &format!("  • {note}"));
            }
        }
    }

    fn show_host(&self, page: &mut Page) {
        let unknown = || "unknown".to_owned();
        let host = &self.host;
        page.line(
            Tone::Plain,
            &format!(
                "Xen {}, scheduler {}, pCPUs {}.",
                host.xen_version.clone().unwrap_or_else(unknown),
                host.scheduler.clone().unwrap_or_else(unknown),
                host.online
            ),
        );
        for fact in [&host.addressing, &host.layout, &host.acknowledgement] {
            page.line(Tone::Faint, &format!("  {fact}"));
        }
        let domains: Vec<String> = host
            .domains
            .iter()
            .map(|domain| match &domain.name {
                Some(name) => format!("{} {name}, {}{}", domain.id, vcpus(domain), functions(domain)),
                None => format!("{}, {}{}", domain.id, vcpus(domain), functions(domain)),
            })
            .collect();
        page.line(Tone::Plain, &format!("Domains: {}.", domains.join("; ")));
    }

    fn show_unbound(&self, page: &mut Page) {
        if self.unbound.is_empty() {
            return;
        }
        let names: Vec<String> = self.unbound.iter().map(|row| format!("{} IRQ {}", row.vector, row.irq)).collect();
        page.heading("Vectors that are taken, but nobody is bound to them");
        page.line(Tone::Faint, &names.join(", "));
    }
}

fn vcpus(domain: &DomainFacts) -> String {
    match domain.vcpus.len() {
        0 => "vCPUs not recorded".to_owned(),
        count => format!("vCPUs: {count}"),
    }
}

/// What is passed through to a domain; nothing if that is not known.
fn functions(domain: &DomainFacts) -> String {
    if domain.functions.is_empty() { String::new() } else { format!(", has {}", domain.functions.join(", ")) }
}

/// Which columns a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    /// All of them.
    All,
    /// Those a narrow page has room for.
    Few,
}

impl Columns {
    /// As many as the page has room for.
    const fn on(page: &Page) -> Self {
        const ROOM: u16 = 110;
        if page.width() < ROOM { Self::Few } else { Self::All }
    }

    const fn heads(self) -> &'static [&'static str] {
        match self {
            Self::All => &["vector", "IRQ", "owner", "device", "function", "pirq", "vCPU", "kind", "path"],
            Self::Few => &["vector", "IRQ", "owner", "device", "kind", "path"],
        }
    }
}

/// The reasons of paths, each once.
#[derive(Default)]
struct Reasons(Vec<String>);

impl Reasons {
    fn number(&mut self, reason: &str) -> usize {
        let known = self.0.iter().position(|known| known == reason);
        1 + known.unwrap_or_else(|| {
            self.0.push(reason.to_owned());
            self.0.len() - 1
        })
    }
}

impl VectorRow {
    fn pieces(&self, reasons: &mut Reasons, columns: Columns) -> Vec<Piece> {
        let tone = if self.is_guests { Tone::Warn } else { Tone::Plain };
        let path = self.path.as_deref().unwrap_or("not known");
        let owner = match self.shared_with.as_slice() {
            [] => self.owner.clone(),
            others => format!("{} (and {})", self.owner, others.join(", ")),
        };
        let mut row = vec![
            Piece::toned(self.vector.clone(), tone),
            self.irq.to_string().into(),
            Piece::toned(owner, tone),
            self.device.clone().into(),
        ];
        if columns == Columns::All {
            row.push(self.function.clone().unwrap_or_default().into());
            row.push(self.pirq.map(|pirq| pirq.to_string()).unwrap_or_default().into());
            row.push(self.vcpu.clone().unwrap_or_default().into());
        }
        row.push(self.kind.clone().into());
        row.push(format!("{path} [{}]", reasons.number(&self.reason)).into());
        row
    }
}
