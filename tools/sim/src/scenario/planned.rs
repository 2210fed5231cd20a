//! A scenario in the planner's words, and a plan carried out on it.

use std::collections::BTreeMap;

use carillon_machine::MachineConfig;
use carillon_machine::SourceConfig;
use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::CpuSet;
use vector_allocator::Goal;
use vector_allocator::Mobility;
use vector_allocator::Owner;
use vector_allocator::SourceId;

use super::Fault;
use super::Scenario;
use super::Source;
use super::VectorPolicy;
use super::lease::Open;
use crate::Workload;

impl Scenario {
    /// Who holds which vector where at the start, as the policy gives it: what inspection and planning look at.
    ///
    /// # Errors
    /// [`Fault`] when the scenario cannot be.
    pub fn assignment(&self) -> Result<Assignment, Fault> {
        let setup = self.setup()?;
        Ok(assignment(self, &setup.machine, &setup.places))
    }

    /// The plan that the policy `planned` carries out: what mends the inversions of the vectors as given.
    ///
    /// # Errors
    /// [`Fault`] when the scenario cannot be.
    pub fn plan(&self) -> Result<vector_allocator::Plan, Fault> {
        let recorded = Self { policy: VectorPolicy::Recorded, ..self.clone() };
        Ok(vector_allocator::plan(&recorded.assignment()?, &Goal::default()))
    }
}

/// Plans, and writes what comes of it into the machine: vectors and targets into its sources, pins into the affinities of
/// the vCPUs that its sources follow.
pub(super) fn apply(scenario: &Scenario, machine: &mut MachineConfig, open: &[Open]) {
    let before = assignment(scenario, machine, open);
    let after = vector_allocator::plan(&before, &Goal::default()).apply(&before);
    let pairs = before.sources.iter().zip(&after.sources);
    let changed: BTreeMap<SourceId, &AssignedSource> =
        pairs.filter(|(before, after)| before != after).map(|(_, after)| (after.id, after)).collect();
    for open in open {
        let source = &mut machine.sources[open.source];
        let Some(after) = changed.get(&source.id) else { continue };
        source.vector = Some(after.vector);
        source.target = after.target.first().unwrap_or(source.target);
        let handler = source.path.handler();
        let domain = machine.domains.iter_mut().find(|domain| Some(domain.id) == handler.map(|to| to.domain));
        let vcpu = domain.zip(handler).and_then(|(domain, to)| domain.vcpus.get_mut(to.vcpu as usize));
        let Some(vcpu) = vcpu else { continue };
        let kept = vcpu.affinity.intersection(&after.reachable);
        if let Some(first) = kept.first() {
            vcpu.start = if kept.contains(vcpu.start) { vcpu.start } else { first };
            vcpu.affinity = kept;
        }
    }
}

/// The sources that hold a vector; the sharers of a line are one.
fn assignment(scenario: &Scenario, machine: &MachineConfig, open: &[Open]) -> Assignment {
    let online = CpuSet::first_n(machine.cpus);
    let mut sources: Vec<AssignedSource> = Vec::new();
    let mut lines: BTreeMap<SourceId, usize> = BTreeMap::new();
    for open in open {
        let (config, written) = (&machine.sources[open.source], &scenario.sources[open.place]);
        let Some(vector) = config.vector else { continue };
        let reachable = reachable(config, written, machine);
        // The hypervisor's own source that is silent stands for one to which nobody is bound.
        let is_bound = config.owner != Owner::System || written.workload != Workload::Silent;
        if let Some(line) = lines.get(&config.id).and_then(|line| sources.get_mut(*line)) {
            let least_trusted = line.owner.least_trusted(config.owner);
            if least_trusted != line.owner {
                line.label.clone_from(&config.label);
            }
            line.owner = least_trusted;
            line.binders.push(config.owner);
            line.reachable = line.reachable.union(&reachable);
            continue;
        }
        lines.insert(config.id, sources.len());
        sources.push(AssignedSource {
            id: config.id,
            label: config.label.clone(),
            owner: config.owner,
            binders: if is_bound { vec![config.owner] } else { Vec::new() },
            kind: config.kind,
            vector,
            holders: holders(config, written, machine),
            target: CpuSet::single(config.target),
            reachable,
            mobility: written.fixed.clone().map_or(Mobility::Movable, Mobility::Fixed),
        });
    }
    Assignment { layout: machine.layout.clone(), model: machine.model, online, ioapic_ack: machine.ioapic_ack, sources }
}

/// Where a source's vector is taken: as the scenario says, its target always among it, or as the addressing asks.
fn holders(config: &SourceConfig, written: &Source, machine: &MachineConfig) -> CpuSet {
    let asked = machine.model.holders(config.target, &CpuSet::first_n(machine.cpus));
    match &written.held {
        Some(mask) => mask.on(machine.cpus).intersection(&asked).union(&CpuSet::single(config.target)),
        None => asked,
    }
}

/// Where a source can come to: as the scenario says, or wherever the vCPU that it follows may run.
fn reachable(config: &SourceConfig, written: &Source, machine: &MachineConfig) -> CpuSet {
    let target = CpuSet::single(config.target);
    if let Some(mask) = &written.reachable {
        return mask.on(machine.cpus).intersection(&CpuSet::first_n(machine.cpus)).union(&target);
    }
    let Some(to) = config.path.handler() else { return target };
    let domain = machine.domains.iter().find(|domain| domain.id == to.domain);
    match domain.and_then(|domain| domain.vcpus.get(to.vcpu as usize)) {
        Some(vcpu) => vcpu.affinity.union(&target),
        None => target,
    }
}
