//! One move of a plan, and what a person has to know to do it.

use carillon_machine::VcpuRef;
use carillon_sim::snapshot::SourceFacts;
use carillon_sim::snapshot::SourceName;
use serde::Serialize;
use vector_allocator::Assignment;
use vector_allocator::Change;
use vector_allocator::CpuSet;
use vector_allocator::PlannedMove;
use vector_allocator::SourceId;

use crate::page::Page;
use crate::page::Tone;
use crate::plan::Steps;

/// One move.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    source: SourceName,
    change: Changed,
    why: String,
    steps: Vec<String>,
}

/// What becomes of a source.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Changed {
    /// It gets another vector, and perhaps another CPU.
    Revector {
        /// Where it is.
        from: At,
        /// Where it goes.
        to: At,
    },
    /// It is kept to fewer CPUs.
    Pin {
        /// The CPUs it could come to.
        from: String,
        /// Those it is kept to.
        to: String,
        /// The vCPU that it follows.
        vcpu: Option<String>,
        /// How, with Xen's tools.
        command: Option<String>,
        /// What else follows that vCPU, and is kept with it.
        also: Vec<SourceName>,
    },
}

/// A vector and its CPUs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct At {
    vector: String,
    /// The CPUs it is delivered to.
    pcpus: String,
    /// The CPUs on which the vector is taken.
    taken_on: String,
}

impl Moved {
    /// A planned move on a host of which `facts` are known.
    pub(crate) fn of(assignment: &Assignment, facts: &[SourceFacts], planned: &PlannedMove) -> Self {
        let at = |place: &vector_allocator::Place| At {
            vector: place.vector.to_string(),
            pcpus: place.target.to_string(),
            taken_on: place.holders.to_string(),
        };
        let change = match &planned.change {
            Change::Revector { from, to } => Changed::Revector { from: at(from), to: at(to) },
            Change::Pin { from, to, .. } => pin(assignment, facts, planned.source, from, to),
        };
        Self {
            source: SourceName::of(assignment, planned.source),
            change,
            why: planned.reason(),
            steps: planned.steps().iter().map(ToString::to_string).collect(),
        }
    }

    /// The command that carries it out, if it is one of Xen's tools.
    pub(crate) fn command(&self) -> Option<&str> {
        match &self.change {
            Changed::Pin { command, .. } => command.as_deref(),
            Changed::Revector { .. } => None,
        }
    }

    /// Writes it to a page; `done_by` is the number of the move whose command carries this one out too.
    pub(crate) fn show(&self, page: &mut Page, number: usize, done_by: Option<usize>, steps: Steps) {
        page.line(Tone::Good, &format!("{number:>3}. {}: {}", self.source, self.change));
        page.line(Tone::Plain, &format!("     {}", self.why));
        if let (Some(earlier), Changed::Pin { vcpu: Some(vcpu), .. }) = (done_by, &self.change) {
            page.line(
                Tone::Plain,
                &format!("     it follows {vcpu} too: the command of move {earlier} is all it takes"),
            );
        } else if let Changed::Pin { vcpu: Some(vcpu), command: Some(command), also, .. } = &self.change {
            page.line(Tone::Plain, &format!("     it follows {vcpu}: {command}"));
            if !also.is_empty() {
                let names: Vec<String> = also.iter().map(ToString::to_string).collect();
                let warning = format!(
                    "     so do {}: they are kept there too, unless their event channels are bound elsewhere",
                    names.join(", ")
                );
                page.line(Tone::Warn, &warning);
            }
        }
        if steps == Steps::Shown {
            for step in &self.steps {
                page.line(Tone::Faint, &format!("       • {step}"));
            }
        }
    }
}

/// A pin is a vCPU's: what else follows that vCPU is pinned with it.
fn pin(assignment: &Assignment, facts: &[SourceFacts], id: SourceId, from: &CpuSet, to: &CpuSet) -> Changed {
    let vcpu = vcpu_of(facts, id);
    let follows = |facts: &&SourceFacts| facts.id() != id && facts.bindings.iter().any(|binding| binding.vcpu == vcpu);
    let also =
        facts.iter().filter(|_| vcpu.is_some()).filter(follows).map(|facts| SourceName::of(assignment, facts.id()));
    let list = to.to_string();
    let cpus = list.trim_matches(['{', '}']);
    Changed::Pin {
        from: from.to_string(),
        to: list.clone(),
        vcpu: vcpu.map(|vcpu| format!("{}v{}", vcpu.domain, vcpu.vcpu)),
        command: vcpu.map(|vcpu| format!("xl vcpu-pin {} {} {cpus}", vcpu.domain.0, vcpu.vcpu)),
        also: also.collect(),
    }
}

/// The vCPU that a source's owner handles it on.
fn vcpu_of(facts: &[SourceFacts], id: SourceId) -> Option<VcpuRef> {
    facts.iter().find(|facts| facts.id() == id)?.owners_binding()?.vcpu
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pin { from, to, .. } => write!(f, "keep it to pCPUs {to}; it could come to {from}"),
            Self::Revector { from, to } => {
                if from.pcpus == to.pcpus {
                    write!(f, "vector {} -> {}, still on pCPU {}", from.vector, to.vector, to.pcpus)?;
                } else {
                    write!(f, "vector {} on pCPU {} -> {} on pCPU {}", from.vector, from.pcpus, to.vector, to.pcpus)?;
                }
                if to.taken_on == to.pcpus { Ok(()) } else { write!(f, " (taken on {})", to.taken_on) }
            }
        }
    }
}
