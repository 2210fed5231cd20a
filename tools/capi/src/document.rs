//! The JSON documents: what the lists say, for whoever would rather read text.

use carillon_sim::snapshot::Harms;
use carillon_sim::snapshot::HostFacts;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::RouteFinding;
use carillon_sim::snapshot::SourceFacts;
use serde::Serialize;
use vector_allocator::Assignment;

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
    #[serde(flatten)]
    harms: Harms,
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

impl HostDocument {
    pub(crate) fn of(host: &HostSnapshot, assignment: &Assignment) -> Self {
        Self {
            name: host.name.clone(),
            host: host.facts(),
            sources: host.sources().into_iter().map(|facts| SourceEntry::of(host, facts)).collect(),
            harms: Harms::of(assignment),
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
