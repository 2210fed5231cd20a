//! What can be taken hold of on a host to move its interrupts.
//!
//! An interrupt of dom0's goes where the vCPU runs that its event channel is bound to (`EVTCHNOP_bind_vcpu`, which is what Linux
//! makes of `smp_affinity`), a guest's where its guest's vCPU runs (`pirq_set_affinity`, `xen/common/event_channel.c`). So a
//! vCPU can be moved, and with it all that is bound to it; and where vCPUs of dom0's are pinned to one pCPU each, its interrupts can be
//! moved one by one.

use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::SourceFacts;
use carillon_sim::snapshot::VcpuFacts;
use vector_allocator::Assignment;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::Goal;
use vector_allocator::Mobility;
use vector_allocator::Movers;
use vector_allocator::Owner;
use vector_allocator::Pinning;
use vector_allocator::aim::Lever;
use vector_allocator::aim::Mover;

use super::toolstack::Fired;

/// The host in the arbiter's words. What does not fire stays where it is: Xen moves an interrupt when it comes next.
pub(crate) fn assignment(host: &HostSnapshot, fired: &Fired) -> Assignment {
    let mut assignment = host.assignment();
    for facts in host.sources() {
        let source = assignment.sources.iter_mut().find(|source| source.id == facts.id());
        let Some(source) = source.filter(|source| source.is_bound() && source.mobility == Mobility::Movable) else {
            continue;
        };
        if fired.times(&facts).is_none() && !facts.bindings.is_empty() {
            source.mobility = Mobility::Fixed("it does not fire, and Xen moves an interrupt when it comes next".into());
        }
    }
    assignment
}

/// Every lever that may be used to reach the goal.
pub(crate) fn movers(host: &HostSnapshot, fired: &Fired, goal: &Goal) -> Vec<Mover> {
    let sources = host.sources();
    let mut movers = Vec::new();
    for domain in host.domain_ids() {
        let vcpus = host.vcpus(domain);
        for vcpu in &vcpus {
            let followers: Vec<&SourceFacts> = sources.iter().filter(|source| follows(source, vcpu, &vcpus)).collect();
            if followers.is_empty() {
                continue;
            }
            if domain != DomainId::DOM0 {
                movers.extend(guests_vcpu(host, fired, goal, vcpu, &followers));
            } else if goal.movers == Movers::Anyone {
                movers.extend(dom0s(host, fired, goal, vcpu, &vcpus, &followers));
            }
        }
    }
    if matches!(host.destination_model().value, DestinationModel::Logical { .. }) {
        movers.extend(devices(&sources));
    }
    movers
}

/// A vCPU of a guest's, if it may be pinned or is already.
fn guests_vcpu(
    host: &HostSnapshot,
    fired: &Fired,
    goal: &Goal,
    vcpu: &VcpuFacts,
    followers: &[&SourceFacts],
) -> Option<Mover> {
    let may_pin = goal.pin != Pinning::Forbidden || pinned_to(vcpu).is_some();
    may_pin.then(|| whole_vcpu(host, fired, vcpu, followers))
}

/// Dom0's interrupts on a vCPU one by one, if it is pinned to one pCPU; else all of them with their vCPU, if that may be pinned.
fn dom0s(
    host: &HostSnapshot,
    fired: &Fired,
    goal: &Goal,
    vcpu: &VcpuFacts,
    vcpus: &[VcpuFacts],
    followers: &[&SourceFacts],
) -> Vec<Mover> {
    if pinned_to(vcpu).is_none() {
        let may_pin = goal.pin == Pinning::Anyone;
        return may_pin.then(|| whole_vcpu(host, fired, vcpu, followers)).into_iter().collect();
    }
    let cpus: CpuSet = vcpus.iter().filter_map(pinned_to).collect();
    let known = followers.iter().filter(|source| number_in_dom0(source).is_some());
    let mover = |source: &&SourceFacts| {
        let (sources, silent) = match fired.times(source) {
            Some(_) => (vec![source.id()], Vec::new()),
            None => (Vec::new(), vec![source.id()]),
        };
        Mover { lever: Lever::Interrupt(source.id()), sources, silent, cpus: cpus.clone() }
    };
    known.map(mover).collect()
}

/// A vCPU with all that follows it, the busiest first.
fn whole_vcpu(host: &HostSnapshot, fired: &Fired, vcpu: &VcpuFacts, followers: &[&SourceFacts]) -> Mover {
    let mut firing: Vec<(u64, &SourceFacts)> =
        followers.iter().filter_map(|source| Some((fired.times(source)?, *source))).collect();
    firing.sort_by_key(|(times, source)| (u64::MAX - times, source.irq));
    let silent = followers.iter().filter(|source| fired.times(source).is_none());
    Mover {
        lever: Lever::Vcpu { domain: vcpu.vcpu.domain, vcpu: vcpu.vcpu.vcpu },
        sources: firing.iter().map(|(_, source)| source.id()).collect(),
        silent: silent.map(|source| source.id()).collect(),
        cpus: host.online(),
    }
}

/// The guests' functions, each with its interrupts. Attaching one again draws their vectors anew.
fn devices(sources: &[SourceFacts]) -> Vec<Mover> {
    let mut movers: Vec<Mover> = Vec::new();
    let passed_through = |source: &&SourceFacts| matches!(source.owner, Owner::Guest(_)) && source.bindings.len() == 1;
    for source in sources.iter().filter(passed_through) {
        let Some(function) = &source.function else { continue };
        let first = sources.iter().filter(passed_through).find(|other| other.function.as_ref() == Some(function));
        let lever = Lever::Device { source: first.map_or(source.id(), SourceFacts::id) };
        match movers.iter_mut().find(|mover| mover.lever == lever) {
            Some(mover) => mover.sources.push(source.id()),
            None => movers.push(Mover { lever, sources: vec![source.id()], silent: Vec::new(), cpus: CpuSet::new() }),
        }
    }
    movers
}

/// Whether a source goes where this vCPU runs and nowhere else: it has one binder, and is bound to the vCPU or to a domain that has
/// no other.
fn follows(source: &SourceFacts, vcpu: &VcpuFacts, all: &[VcpuFacts]) -> bool {
    let [binding] = source.bindings.as_slice() else { return false };
    binding.domain == vcpu.vcpu.domain
        && match binding.vcpu {
            Some(bound) => bound == vcpu.vcpu,
            None => all.len() == 1,
        }
}

/// The only pCPU a vCPU may run on.
pub(crate) fn pinned_to(vcpu: &VcpuFacts) -> Option<CpuId> {
    vcpu.affinity.first().filter(|_| vcpu.affinity.len() == 1)
}

/// Dom0's number of one of its interrupts.
pub(crate) fn number_in_dom0(source: &SourceFacts) -> Option<u32> {
    source.bindings.iter().find(|binding| binding.domain == DomainId::DOM0)?.number
}
