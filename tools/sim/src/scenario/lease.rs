//! Gives every source that needs one its vector, as the policy says.

use std::collections::BTreeMap;

use carillon_machine::MachineConfig;
use carillon_machine::SourceConfig;
use vector_allocator::CpuSet;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceId;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;

use super::Fault;
use super::Place;
use super::Scenario;
use super::VectorPolicy;
use super::fault::What;

/// A source that needs a host vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Which of the scenario's sources it comes from.
    pub(super) place: usize,
    /// Which of the machine's sources it is.
    pub(super) source: usize,
}

/// Leases vectors on an empty host in the order of the sources: for those that have none, or under a policy that leases
/// anew for all. A source stays on its CPU, which its vCPU decides, so that policies differ in vectors alone. The sharers
/// of one line share one lease.
pub(super) fn assign(scenario: &Scenario, machine: &mut MachineConfig, open: &[Open]) -> Result<(), Fault> {
    let keeps = matches!(scenario.policy, VectorPolicy::Recorded | VectorPolicy::Planned);
    let mut given = BTreeMap::new();
    if keeps {
        let vectors = open.iter().filter_map(|open| {
            let source = &machine.sources[open.source];
            Some((source.id, source.vector?))
        });
        given.extend(vectors);
    }
    if open.iter().all(|open| given.contains_key(&machine.sources[open.source].id)) {
        return Ok(());
    }
    let leased = lease(machine, open, &given)?;
    for open in open {
        let source = &mut machine.sources[open.source];
        source.vector = leased.get(&source.id).copied();
    }
    Ok(())
}

/// Takes over what is given, and leases the rest.
fn lease(
    machine: &MachineConfig,
    open: &[Open],
    given: &BTreeMap<SourceId, Vector>,
) -> Result<BTreeMap<SourceId, Vector>, Fault> {
    let online = CpuSet::first_n(machine.cpus);
    let policy = machine.policy;
    let arbiter =
        VectorAllocator::new(machine.layout.clone(), machine.model, machine.cpus, &online, policy, machine.ioapic_ack);
    let mut arbiter = arbiter.map_err(|error| {
        let what = What::NoVector { label: String::from("every source"), reason: error.to_string() };
        Place::Host("cpus").fault(what)
    })?;
    let mut leased = BTreeMap::new();
    for open in open {
        let source = &machine.sources[open.source];
        if let Some(vector) = given.get(&source.id)
            && leased.insert(source.id, *vector).is_none()
        {
            let holders = machine.model.holders(source.target, &online);
            let adopted = arbiter.adopt(owner(machine, source), source.kind, *vector, &holders, source.target);
            adopted.map_err(|error| refused(open, source, error.to_string()))?;
        }
    }
    for open in open {
        let source = &machine.sources[open.source];
        if leased.contains_key(&source.id) {
            continue;
        }
        let lease = arbiter.allocate(owner(machine, source), source.kind, &CpuSet::single(source.target));
        let lease = lease.map_err(|error| refused(open, source, error.to_string()))?;
        let placement = arbiter.placement(lease).map_err(|error| refused(open, source, error.to_string()))?;
        leased.insert(source.id, placement.vector);
    }
    Ok(leased)
}

/// Whose a line is: of several sharers, the least trusted's.
fn owner(machine: &MachineConfig, source: &SourceConfig) -> Owner {
    if source.kind != vector_allocator::SourceKind::Level {
        return source.owner;
    }
    let sharers = machine.sources.iter().filter(|other| other.id == source.id);
    sharers.fold(source.owner, |owner, sharer| owner.least_trusted(sharer.owner))
}

fn refused(open: &Open, source: &SourceConfig, reason: String) -> Fault {
    Place::Source(open.place, "vector").fault(What::NoVector { label: source.label.clone(), reason })
}

/// The rule by which vectors are drawn under a policy, at the start and while the machine runs: a host whose vectors were
/// recorded or planned goes on as Xen does.
pub(super) const fn rule(policy: VectorPolicy) -> Policy {
    match policy {
        VectorPolicy::Recorded | VectorPolicy::XenCursor | VectorPolicy::Planned => Policy::XenCursor,
        VectorPolicy::Spread => Policy::Spread,
        VectorPolicy::BelowDom0 => Policy::BelowDom0,
    }
}
