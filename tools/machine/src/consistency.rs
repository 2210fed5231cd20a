//! Whether a configuration can be a machine at all.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use hypervisor_abi::pid_pointer::MAX_PID_POINTERS;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::MAX_APIC_ID;
use hypervisor_lib::delivery::avic::MAX_X2AVIC_EXTENDED;
use vector_allocator::AdoptError;
use vector_allocator::CpuId;
use vector_allocator::DomainId;
use vector_allocator::HostError;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::Vector;

use crate::DeferredWork;
use crate::DomainConfig;
use crate::DomainKind;
use crate::EventAbi;
use crate::EventFault;
use crate::FifoPriority;
use crate::MachineConfig;
use crate::Path;
use crate::Scheduler;
use crate::SourceConfig;
use crate::TooManyMessages;
use crate::VcpuRef;
use crate::Vendor;

/// The largest machine that is modelled: Xen's `NR_CPUS` limit is 16383, x2APIC clusters make 4096 plenty.
pub const MAX_CPUS: u32 = 4096;

/// A configuration contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no CPU, or more than [`MAX_CPUS`].
    #[error("{0} CPUs: a machine has 1 to {MAX_CPUS}")]
    Cpus(u32),
    /// The layout keeps no vector for a purpose the machine needs.
    #[error("the vector layout leaves no vector for {0}")]
    NoVectorFor(&'static str),
    /// A slice or rate limit of zero would switch for ever.
    #[error("the scheduler's slice is zero")]
    NoSlice,
    /// Two domains have one number.
    #[error("domain {0} is there twice")]
    DomainTwice(DomainId),
    /// A domain belongs to the hypervisor, or to a domain of another number.
    #[error("domain {domain} cannot be owned by {owner}")]
    DomainOwner {
        /// The domain.
        domain: DomainId,
        /// Its impossible owner.
        owner: Owner,
    },
    /// A vCPU's start is not one of its CPUs, or its CPUs are not all there.
    #[error("vCPU {vcpu} of {domain} cannot start on CPU {start}: it is not among the machine's CPUs in its affinity")]
    VcpuStart {
        /// The domain.
        domain: DomainId,
        /// The vCPU.
        vcpu: u32,
        /// Where it was to start.
        start: CpuId,
    },
    /// A periodic load has a part of zero length.
    #[error("the periodic load of vCPU {vcpu} of {domain} has a part of no length")]
    EmptyPeriod {
        /// The domain.
        domain: DomainId,
        /// The vCPU.
        vcpu: u32,
    },
    /// Work is deferred that nobody could do.
    #[error("deferred work of {domain}: {fault}")]
    Deferred {
        /// The domain.
        domain: DomainId,
        /// Why not.
        fault: DeferredFault,
    },
    /// Under the null scheduler two vCPUs share a CPU.
    #[error("two vCPUs start on CPU {0}, and the null scheduler gives a CPU to one")]
    NullShared(CpuId),
    /// A source is sent to a CPU that is not there.
    #[error("source {source_id} targets CPU {cpu}, which is not there")]
    SourceTarget {
        /// The source.
        source_id: u32,
        /// The CPU.
        cpu: CpuId,
    },
    /// A source's handler is a vCPU that is not there.
    #[error("source {source_id} is handled by vCPU {vcpu} of {domain}, which is not there")]
    NoSuchVcpu {
        /// The source.
        source_id: u32,
        /// The domain.
        domain: DomainId,
        /// The vCPU.
        vcpu: u32,
    },
    /// A source's owner is not its handler's owner.
    #[error("source {source_id} is owned by {owner}, but its path leads to {handler}")]
    SourceOwner {
        /// The source.
        source_id: u32,
        /// Its owner.
        owner: Owner,
        /// Who handles it.
        handler: Owner,
    },
    /// The path cannot carry this kind of source, or not into this kind of domain.
    #[error("source {source_id}: {reason}")]
    Path {
        /// The source.
        source_id: u32,
        /// Why not.
        reason: PathFault,
    },
    /// The vector may not be leased on that CPU.
    #[error("source {source_id} holds vector {vector} on CPU {cpu}, which the layout does not lease there")]
    VectorNotLeasable {
        /// The source.
        source_id: u32,
        /// The vector.
        vector: Vector,
        /// The CPU.
        cpu: CpuId,
    },
    /// Two sources hold one vector on one CPU without being one line.
    #[error("sources {first} and {second} both hold vector {vector} on CPU {cpu}")]
    VectorTwice {
        /// The source that came first.
        first: u32,
        /// The other.
        second: u32,
        /// The vector.
        vector: Vector,
        /// The CPU.
        cpu: CpuId,
    },
    /// Two sources have one number without being one level-triggered line with one vector and target.
    #[error("source {source_id} is there twice, and not as the sharers of one level-triggered line")]
    SourceTwice {
        /// The source.
        source_id: u32,
    },
    /// Two sources use one guest vector of one vCPU.
    #[error("sources {first} and {second} both use guest vector {vector} of vCPU {vcpu} of {domain}")]
    GuestVectorTwice {
        /// The source that came first.
        first: u32,
        /// The other.
        second: u32,
        /// The guest vector.
        vector: Vector,
        /// The vCPU.
        vcpu: u32,
        /// The domain.
        domain: DomainId,
    },
    /// A domain has more events than its ABI has ports.
    #[error("{domain} needs {ports} event ports, and its ABI has {limit}")]
    EventPorts {
        /// The domain.
        domain: DomainId,
        /// How many it needs.
        ports: u32,
        /// How many there can be.
        limit: u32,
    },
    /// The engine is another maker's than the processors.
    #[error("{domain} cannot be served by {engine}: the machine's processors are another maker's")]
    EngineVendor {
        /// The domain.
        domain: DomainId,
        /// Its engine.
        engine: Engine,
    },
    /// The domain has more vCPUs than its engine reaches.
    #[error("{domain} has {vcpus} vCPUs, and {engine} reaches {limit}")]
    EngineReach {
        /// The domain.
        domain: DomainId,
        /// Its engine.
        engine: Engine,
        /// How many vCPUs it has.
        vcpus: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More software events than one backend has ports for.
    #[error("{0} software events: the backend that sends them has at most {limit} ports", limit = EventAbi::Fifo.ports())]
    SoftwareEvents(u32),
    /// More domains than there are numbers for.
    #[error("{0} domains have event channels: there are numbers for 32751")]
    TooManyEventDomains(usize),
    /// Event channels cannot be set up: a domain's, or the backend's.
    #[error("event channels of {} cannot be set up", domain.map_or(Owner::System, Owner::Guest))]
    Events {
        /// Whose.
        domain: Option<DomainId>,
        /// Why not.
        #[source]
        fault: Box<EventFault>,
    },
    /// The CPUs cannot be addressed as the model says.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The arbiter cannot take over the source's vector.
    #[error("the vector of source {source_id} cannot be taken over")]
    NotToBeHad {
        /// The source.
        source_id: u32,
        /// Why not.
        #[source]
        fault: AdoptError,
    },
    /// The sources' messages are more than the IOMMU has entries for.
    #[error(transparent)]
    Iommu(#[from] TooManyMessages),
    /// There are more sources, or more vCPUs, than the machine's indices hold.
    #[error("too many {0} for 32-bit indices")]
    TooMany(&'static str),
}

/// Why a path cannot carry a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// A posted source has a host vector, or its kind says otherwise.
    #[error("a posted path needs a source of kind posted without a host vector, and the other way round")]
    PostedVector,
    /// Only software events come without a host vector.
    #[error("without a host vector it can only be a software event: an edge on an event channel")]
    NoVector,
    /// Guest vectors need hardware virtualization.
    #[error("a remapped or posted path leads into a paravirtual domain, which has no guest vectors")]
    PvHasNoVectors,
    /// An engine without posted interrupts has nothing an IOMMU could post to.
    #[error("nothing can be posted to its domain's engine: it can only be remapped")]
    NotPosted,
    /// A vCPU's interrupt has no vector of the host's.
    #[error("an interrupt that a vCPU sends is an edge without a host vector")]
    IpiVector,
    /// The sender is not there, or a vCPU of another domain.
    #[error("its sender is no vCPU of the domain that handles it")]
    IpiSender,
    /// The 2-level ABI has no priorities.
    #[error("its domain uses 2-level event channels, which have no priorities")]
    NoPriorities,
    /// Event channels know only so many vCPUs.
    #[error("event channels reach vCPUs 0 to 4095 of a domain")]
    EventVcpu,
    /// Notification vectors are the machine's own.
    #[error("notification vectors are the machine's own, no source holds one")]
    Notification,
}

/// Why a domain cannot defer work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeferredFault {
    /// A paravirtual guest has no local APIC.
    #[error("a paravirtual domain has no task priority")]
    NoApic,
    /// Class 0 holds nothing back, and there are none above 15.
    #[error("class {0}: the task priority is raised to 1 to 15")]
    Class(u8),
    /// It would be over before it had begun.
    #[error("it lasts no time")]
    Nothing,
}

/// Checks everything; the first fault found is the answer.
pub(crate) fn check(config: &MachineConfig) -> Result<(), ConfigError> {
    if config.cpus == 0 || config.cpus > MAX_CPUS {
        return Err(ConfigError::Cpus(config.cpus));
    }
    check_scheduler(config)?;
    check_domains(config)?;
    check_sources(config)
}

fn check_scheduler(config: &MachineConfig) -> Result<(), ConfigError> {
    match config.scheduler {
        Scheduler::Credit2 { slice, .. } | Scheduler::Pinned { slice } if slice.0 == 0 => Err(ConfigError::NoSlice),
        _ => Ok(()),
    }
}

fn check_domains(config: &MachineConfig) -> Result<(), ConfigError> {
    let mut numbers: Vec<DomainId> = config.domains.iter().map(|domain| domain.id).collect();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ConfigError::DomainTwice(pair[0]));
    }
    let mut taken = vec![false; config.cpus as usize];
    let mut vcpus = 0usize;
    for domain in &config.domains {
        let fits = match domain.owner {
            Owner::System => false,
            Owner::Dom0 => domain.id == DomainId(0),
            Owner::Guest(id) => domain.id == id,
        };
        if !fits {
            return Err(ConfigError::DomainOwner { domain: domain.id, owner: domain.owner });
        }
        check_deferred(domain)?;
        vcpus += domain.vcpus.len();
        check_vcpus(config, domain, &mut taken)?;
    }
    u32::try_from(vcpus).map_err(|_| ConfigError::TooMany("vCPUs"))?;
    Ok(())
}

fn check_deferred(domain: &DomainConfig) -> Result<(), ConfigError> {
    let Some(DeferredWork { class, lasts }) = domain.deferred else { return Ok(()) };
    let fault = match (domain.kind, class, lasts.0) {
        (DomainKind::Pv, ..) => DeferredFault::NoApic,
        (_, 0 | 16.., _) => DeferredFault::Class(class),
        (_, _, 0) => DeferredFault::Nothing,
        _ => return Ok(()),
    };
    Err(ConfigError::Deferred { domain: domain.id, fault })
}

fn check_vcpus(config: &MachineConfig, domain: &DomainConfig, taken: &mut [bool]) -> Result<(), ConfigError> {
    for (number, vcpu) in (0u32..).zip(&domain.vcpus) {
        if vcpu.start.0 >= config.cpus || !vcpu.affinity.contains(vcpu.start) {
            return Err(ConfigError::VcpuStart { domain: domain.id, vcpu: number, start: vcpu.start });
        }
        if let crate::VcpuLoad::Periodic { run, sleep } = vcpu.load
            && (run.0 == 0 || sleep.0 == 0)
        {
            return Err(ConfigError::EmptyPeriod { domain: domain.id, vcpu: number });
        }
        if config.scheduler == Scheduler::Null && core::mem::replace(&mut taken[vcpu.start.index()], true) {
            return Err(ConfigError::NullShared(vcpu.start));
        }
    }
    Ok(())
}

fn check_sources(config: &MachineConfig) -> Result<(), ConfigError> {
    u32::try_from(config.sources.len()).map_err(|_| ConfigError::TooMany("sources"))?;
    for source in &config.sources {
        check_source(config, source)?;
    }
    check_source_numbers(config)?;
    check_guest_vectors(config)
}

fn check_source(config: &MachineConfig, source: &SourceConfig) -> Result<(), ConfigError> {
    let source_id = source.id.0;
    if source.target.0 >= config.cpus {
        return Err(ConfigError::SourceTarget { source_id, cpu: source.target });
    }
    let fault = |reason| Err(ConfigError::Path { source_id, reason });
    let posted = matches!(source.path, Path::Posted { .. });
    if posted != (source.kind == SourceKind::Posted) || (posted && source.vector.is_some()) {
        return fault(PathFault::PostedVector);
    }
    if source.kind == SourceKind::Notification {
        return fault(PathFault::Notification);
    }
    let is_sent = matches!(source.path, Path::Ipi { .. });
    let software =
        source.kind == SourceKind::EdgeMaskable && (is_sent || matches!(source.path, Path::EventChannel { .. }));
    if source.vector.is_none() && !posted && !software {
        return fault(PathFault::NoVector);
    }
    if is_sent && (source.vector.is_some() || !software) {
        return fault(PathFault::IpiVector);
    }
    if let Path::Ipi { from, to, .. } = source.path {
        let sender = config.domains.iter().find(|domain| domain.id == from.domain);
        if from.domain != to.domain || sender.is_none_or(|domain| from.vcpu as usize >= domain.vcpus.len()) {
            return fault(PathFault::IpiSender);
        }
    }
    check_handler(config, source)?;
    if let Some(vector) = source.vector
        && !config.layout.leasable(source.target).contains(vector)
    {
        return Err(ConfigError::VectorNotLeasable { source_id, vector, cpu: source.target });
    }
    Ok(())
}

fn check_handler(config: &MachineConfig, source: &SourceConfig) -> Result<(), ConfigError> {
    let source_id = source.id.0;
    let handler = match source.path.handler() {
        None => Owner::System,
        Some(to) => {
            let domain = config.domains.iter().find(|domain| domain.id == to.domain);
            let Some(domain) = domain.filter(|domain| (to.vcpu as usize) < domain.vcpus.len()) else {
                return Err(ConfigError::NoSuchVcpu { source_id, domain: to.domain, vcpu: to.vcpu });
            };
            let vectored = source.path.guest_vector().is_some();
            if vectored {
                check_engine(config, domain)?;
            }
            if let (Path::Posted { .. }, Engine::Software | Engine::Apicv) = (source.path, domain.engine) {
                return Err(ConfigError::Path { source_id, reason: PathFault::NotPosted });
            }
            if vectored && domain.kind == DomainKind::Pv {
                return Err(ConfigError::Path { source_id, reason: PathFault::PvHasNoVectors });
            }
            if let Path::EventChannel { priority, .. } = source.path
                && priority != FifoPriority::DEFAULT
                && domain.event_abi == EventAbi::TwoLevel
            {
                return Err(ConfigError::Path { source_id, reason: PathFault::NoPriorities });
            }
            domain.owner
        }
    };
    if handler != source.owner {
        return Err(ConfigError::SourceOwner { source_id, owner: source.owner, handler });
    }
    Ok(())
}

/// An engine is one maker's, and its tables reach so many vCPUs.
fn check_engine(config: &MachineConfig, domain: &DomainConfig) -> Result<(), ConfigError> {
    let (vendor, limit) = match domain.engine {
        Engine::Software => (config.vendor, MAX_APIC_ID.0 as usize + 1),
        Engine::Apicv | Engine::Posted => (Vendor::Intel, MAX_APIC_ID.0 as usize + 1),
        Engine::IpiVirtualization => (Vendor::Intel, MAX_PID_POINTERS),
        Engine::Avic(_) => (Vendor::Amd, MAX_X2AVIC_EXTENDED),
    };
    if vendor != config.vendor {
        return Err(ConfigError::EngineVendor { domain: domain.id, engine: domain.engine });
    }
    if domain.vcpus.len() > limit {
        let (domain, engine, vcpus) = (domain.id, domain.engine, domain.vcpus.len());
        return Err(ConfigError::EngineReach { domain, engine, vcpus, limit });
    }
    Ok(())
}

/// Equal numbers are the sharers of one line, so they must agree on everything the wire decides.
fn check_source_numbers(config: &MachineConfig) -> Result<(), ConfigError> {
    let mut by_number: Vec<&SourceConfig> = config.sources.iter().collect();
    by_number.sort_by_key(|source| source.id);
    for pair in by_number.windows(2) {
        let one_line = pair[0].kind == SourceKind::Level
            && pair[1].kind == SourceKind::Level
            && pair[0].vector == pair[1].vector
            && pair[0].target == pair[1].target
            && pair[0].path.handler().is_some()
            && pair[1].path.handler().is_some();
        if pair[0].id == pair[1].id && !one_line {
            return Err(ConfigError::SourceTwice { source_id: pair[0].id.0 });
        }
    }
    Ok(())
}

fn check_guest_vectors(config: &MachineConfig) -> Result<(), ConfigError> {
    let mut used: Vec<(VcpuRef, Vector, SourceId)> = config
        .sources
        .iter()
        .filter_map(|source| Some((source.path.handler()?, source.path.guest_vector()?, source.id)))
        .collect();
    used.sort_by_key(|(to, vector, _)| (to.domain, to.vcpu, vector.number()));
    for pair in used.windows(2) {
        let ((to, vector, first), (other, same, second)) = (pair[0], pair[1]);
        if to == other && vector == same {
            return Err(ConfigError::GuestVectorTwice {
                first: first.0,
                second: second.0,
                vector,
                vcpu: to.vcpu,
                domain: to.domain,
            });
        }
    }
    Ok(())
}
