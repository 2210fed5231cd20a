//! The JSON documents: what the lists say, for whoever would rather read text.

use carillon_sim::snapshot::HostFacts;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::RouteFinding;
use carillon_sim::snapshot::SourceFacts;
use serde::Serialize;
use vector_allocator::Assignment;
use vector_allocator::Inversion;
use vector_allocator::SourceId;
use vector_allocator::When;
use vector_allocator::inversions;
use vector_allocator::latent;
use vector_allocator::retentions;

use crate::status::Failure;
use crate::status::Status;

/// A document as text.
pub(crate) fn json(document: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(document).map_err(|error| Failure::new(Status::Panicked, error.to_string()))
}

/// What is known of a host.
#[derive(Serialize)]
pub(crate) struct HostDocument {
    name: String,
    host: HostFacts,
    sources: Vec<SourceEntry>,
    inversions: Vec<InversionEntry>,
    /// Those that would be there if a guest bound what it has mapped.
    latent: Vec<InversionEntry>,
    retention: Vec<RetentionEntry>,
    notes: Vec<String>,
}

/// One source with the vector it holds and the path it takes.
#[derive(Serialize)]
struct SourceEntry {
    #[serde(flatten)]
    facts: SourceFacts,
    vector: Option<String>,
    path: Option<String>,
    reason: String,
}

/// A source by the words a person has for it.
#[derive(Serialize)]
pub(crate) struct SourceName {
    irq: u32,
    vector: Option<String>,
    device: String,
    owner: String,
}

#[derive(Serialize)]
struct InversionEntry {
    what: String,
    guest: SourceName,
    dom0: SourceName,
    cpus: String,
}

#[derive(Serialize)]
struct RetentionEntry {
    guest: SourceName,
    /// What it blocks as the host stands.
    blocks: Vec<SourceName>,
    /// What it can come to block after a move.
    can_block: Vec<SourceName>,
}

impl HostDocument {
    pub(crate) fn of(host: &HostSnapshot, assignment: &Assignment) -> Self {
        Self {
            name: host.name.clone(),
            host: host.facts(),
            sources: host.sources().into_iter().map(|facts| SourceEntry::of(host, facts)).collect(),
            inversions: inversions(assignment).map(|one| InversionEntry::of(assignment, &one)).collect(),
            latent: latent(assignment).map(|one| InversionEntry::of(assignment, &one)).collect(),
            retention: RetentionEntry::all(assignment),
            notes: host.notes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl SourceEntry {
    fn of(host: &HostSnapshot, facts: SourceFacts) -> Self {
        let (path, reason) = match host.route(&facts) {
            RouteFinding::Known(route) => (Some(route.path.to_string()), route.reason.to_string()),
            RouteFinding::NoDomainDump => {
                (None, "how its domain is virtualized is not recorded (dump-q.txt)".to_owned())
            }
            RouteFinding::NoBootLog => (None, "what the processor can do is not recorded (xl-dmesg.txt)".to_owned()),
        };
        let vector = host.irq(facts.irq).and_then(|irq| irq.vector).map(|vector| vector.to_string());
        Self { facts, vector, path, reason }
    }
}

impl SourceName {
    pub(crate) fn of(assignment: &Assignment, id: SourceId) -> Self {
        let source = assignment.sources.iter().find(|source| source.id == id);
        Self {
            irq: id.0,
            vector: source.map(|source| source.vector.to_string()),
            device: source.map(|source| source.label.clone()).unwrap_or_default(),
            owner: source.map(|source| source.owner.to_string()).unwrap_or_default(),
        }
    }
}

impl InversionEntry {
    fn of(assignment: &Assignment, inversion: &Inversion) -> Self {
        Self {
            what: inversion.kind.to_string(),
            guest: SourceName::of(assignment, inversion.guest),
            dom0: SourceName::of(assignment, inversion.dom0),
            cpus: inversion.cpus.to_string(),
        }
    }
}

impl RetentionEntry {
    fn all(assignment: &Assignment) -> Vec<Self> {
        let entry = |retention: &vector_allocator::Retention| {
            let those = |when: When| {
                let blocked = retention.blocked.iter().filter(|blocked| blocked.when == when);
                blocked.map(|blocked| SourceName::of(assignment, blocked.source)).collect()
            };
            Self {
                guest: SourceName::of(assignment, retention.guest),
                blocks: those(When::Now),
                can_block: those(When::AfterMove),
            }
        };
        retentions(assignment).iter().map(entry).collect()
    }
}
