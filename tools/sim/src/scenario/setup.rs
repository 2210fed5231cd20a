//! From a scenario to a machine: copies written out, paths chosen, vectors leased, everything checked.

use carillon_machine::ConfigError;
use carillon_machine::Costs;
use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::Machine;
use carillon_machine::MachineConfig;
use carillon_machine::SourceConfig;
use carillon_machine::Span;
use carillon_machine::VcpuConfig;
use carillon_machine::VcpuLoad;
use carillon_machine::VcpuRef;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::Vector;

use super::DeferredWork;
use super::Destinations;
use super::DevicePath;
use super::Domain;
use super::Fault;
use super::IoApicAck;
use super::Load;
use super::Place;
use super::Scenario;
use super::Scheduler;
use super::Source;
use super::Vcpu;
use super::VectorPolicy;
use super::Vendor;
use super::fault::What;
use super::lease;
use super::lease::Open;
use super::path;
use super::planned;
use crate::Workload;

/// Most vCPUs of a domain (Xen: `MAX_VIRT_CPUS`, of a PV domain; an HVM domain has fewer).
const MOST_VCPUS: f64 = 8192.0;

/// Most CPUs that flat logical destinations reach (SDM vol. 3A, 11.6.2.2).
const FLAT_CPUS: f64 = 8.0;

/// Most vCPUs and most sources of a scenario.
const MOST: usize = 1 << 20;

/// A scenario ready to run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The machine.
    pub machine: MachineConfig,
    /// What each of its sources does, in its order.
    pub workloads: Vec<Workload>,
    /// Which of them hold vectors, and where the scenario speaks of them.
    pub(super) places: Vec<Open>,
    /// How long, of virtual time.
    pub duration: Span,
}

impl Scenario {
    /// Builds what the scenario describes.
    ///
    /// # Errors
    /// [`Fault`] says what is wrong with it, and where.
    pub fn setup(&self) -> Result<Setup, Fault> {
        within(Place::Top("load"), "load", self.load, 1e-3..=1e3, "0.001 to 1000")?;
        within(Place::Top("duration_ms"), "duration_ms", self.duration_ms, 1e-3..=1e7, "0.001 to 10000000")?;
        let cpus = self.host.cpus;
        within(Place::Host("cpus"), "cpus", cpus.into(), 1.0..=4096.0, "1 to 4096")?;
        if self.host.destinations == Destinations::Flat {
            let expected = "1 to 8 with flat destinations";
            within(Place::Host("cpus"), "cpus", cpus.into(), 1.0..=FLAT_CPUS, expected)?;
        }
        let mut machine = MachineConfig {
            cpus,
            vendor: match self.host.vendor {
                Vendor::Intel => carillon_machine::Vendor::Intel,
                Vendor::Amd => carillon_machine::Vendor::Amd,
            },
            model: match self.host.destinations {
                Destinations::Physical => DestinationModel::Physical,
                Destinations::Flat => DestinationModel::FLAT,
                Destinations::X2apicCluster => DestinationModel::X2APIC_CLUSTER,
            },
            layout: self.host.layout.build().map_err(|error| Place::Host("layout").fault(error))?,
            ioapic_ack: match self.host.ioapic_ack {
                IoApicAck::New => vector_allocator::IoApicAck::New,
                IoApicAck::Old => vector_allocator::IoApicAck::Old,
            },
            policy: lease::rule(self.policy),
            scheduler: self.scheduler()?,
            costs: self.costs()?,
            domains: self.domains()?,
            sources: Vec::new(),
        };
        let (workloads, places) = self.sources(&mut machine)?;
        match Machine::new(&machine) {
            Ok(_) => Ok(Setup { machine, workloads, places, duration: span(self.duration_ms * 1e3) }),
            Err(error) => Err(self.place_of(&error).fault(self.refused(error))),
        }
    }

    /// What the machine refuses, in the scenario's own words where a number alone would be hard to find.
    fn refused(&self, error: ConfigError) -> What {
        let label = |id: u32| self.written_as(id).map_or_else(|| id.to_string(), |source| source.label.clone());
        match error {
            ConfigError::VectorNotLeasable { source_id, vector, cpu } => {
                What::VectorNotLeasable { label: label(source_id), vector: vector.number(), cpu: cpu.0 }
            }
            ConfigError::VectorTwice { first, second, vector, cpu } => {
                What::VectorTwice { first: label(first), second: label(second), vector: vector.number(), cpu: cpu.0 }
            }
            error => error.into(),
        }
    }

    /// The entry of a source of the machine.
    fn written_as(&self, id: u32) -> Option<&Source> {
        self.sources.iter().find(|source| (source.id..source.id.saturating_add(source.copies)).contains(&id))
    }

    fn scheduler(&self) -> Result<carillon_machine::Scheduler, Fault> {
        let time = |name, value| {
            within(Place::Host("scheduler"), name, value, 0.0..=1e7, "0 to 10000000 microseconds").map(|()| span(value))
        };
        Ok(match self.host.scheduler {
            Scheduler::Credit2 { ratelimit_us, slice_us } => carillon_machine::Scheduler::Credit2 {
                ratelimit: time("ratelimit_us", ratelimit_us)?,
                slice: time("slice_us", slice_us)?,
            },
            Scheduler::Null => carillon_machine::Scheduler::Null,
            Scheduler::Pinned { slice_us } => {
                carillon_machine::Scheduler::Pinned { slice: time("slice_us", slice_us)? }
            }
        })
    }

    fn costs(&self) -> Result<Costs, Fault> {
        let mut costs = Costs::default();
        for (name, ns) in &self.costs_ns {
            let fault = |error| Place::Cost(name.clone()).fault(What::Cost { name: name.clone(), error });
            costs.set(name, Span(*ns)).map_err(fault)?;
        }
        Ok(costs)
    }

    fn domains(&self) -> Result<Vec<DomainConfig>, Fault> {
        let mut domains = Vec::new();
        let mut vcpus = 0;
        for (index, domain) in self.domains.iter().enumerate() {
            let highest = f64::from(domain.id) + f64::from(domain.copies);
            at_least_one(Place::Domain(index, "copies"), domain.copies)?;
            within(Place::Domain(index, "copies"), "id + copies", highest, 1.0..=32_752.0, "1 to 32752")?;
            for vcpu in &domain.vcpus {
                at_least_one(Place::Domain(index, "vcpu"), vcpu.copies)?;
            }
            let own = domain.vcpus.iter().map(|vcpu| f64::from(vcpu.copies)).sum();
            within(Place::Domain(index, "vcpu"), "vCPUs", own, 1.0..=MOST_VCPUS, "1 to 8192 of a domain")?;
            vcpus += domain.copies as usize * domain.vcpus.iter().map(|vcpu| vcpu.copies as usize).sum::<usize>();
            within(Place::Domain(index, "vcpu"), "vCPUs", vcpus as f64, 1.0..=MOST as f64, "1 to 1048576 in all")?;
            for copy in 0..domain.copies {
                domains.push(self.domain(index, domain, copy)?);
            }
        }
        Ok(domains)
    }

    fn domain(&self, index: usize, domain: &Domain, copy: u32) -> Result<DomainConfig, Fault> {
        #[expect(clippy::cast_possible_truncation, reason = "id + copies is at most 32752")]
        let id = DomainId(domain.id + copy as u16);
        let kind = match (domain.kind, self.path) {
            (super::DomainKind::Pv, DevicePath::Remapped | DevicePath::Posted) if domain.id != 0 => DomainKind::Hvm,
            (super::DomainKind::Pv, _) => DomainKind::Pv,
            (super::DomainKind::Hvm, _) => DomainKind::Hvm,
        };
        let (event_abi, software_eoi) = self.event_channels(index, domain)?;
        let mut vcpus = Vec::new();
        for vcpu in &domain.vcpus {
            let starts = Starts::new(vcpu, self.host.cpus);
            for number in 0..vcpu.copies {
                let turn = copy as usize * vcpu.copies as usize + number as usize;
                vcpus.push(VcpuConfig {
                    affinity: starts.affinity.clone(),
                    start: starts.nth(turn),
                    load: load(Place::Domain(index, "vcpu"), vcpu.load)?,
                });
            }
        }
        Ok(DomainConfig {
            id,
            owner: Owner::of(id),
            name: copy_of(&domain.name, domain.copies, copy),
            kind,
            engine: domain
                .engine
                .unwrap_or(self.engine)
                .resolve(self.host.vendor, vcpus.len().try_into().unwrap_or(u32::MAX)),
            event_abi,
            software_eoi,
            deferred: domain.deferred.map(|work| deferred(index, work)).transpose()?,
            vcpus,
        })
    }

    /// Writes the machine's sources, and gives back what each does and which hold vectors.
    fn sources(&self, machine: &mut MachineConfig) -> Result<(Vec<Workload>, Vec<Open>), Fault> {
        let mut workloads = Vec::new();
        let mut open = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            at_least_one(Place::Source(index, "copies"), source.copies)?;
            let total = machine.sources.len() as f64 + f64::from(source.copies);
            within(Place::Source(index, "copies"), "sources", total, 1.0..=MOST as f64, "1 to 1048576 in all")?;
            let highest = f64::from(source.id) + f64::from(source.copies);
            within(Place::Source(index, "id"), "id + copies", highest, 1.0..=4e9, "1 to 4000000000")?;
            within(Place::Source(index, "handler_us"), "handler_us", source.handler_us, 0.0..=1e6, "0 to 1000000")?;
            source.workload.check().map_err(|error| Place::Source(index, "workload").fault(error))?;
            for copy in 0..source.copies {
                let config = self.source(index, source, copy, machine)?;
                if path::needs_vector(source, &config.path) {
                    open.push(Open { place: index, source: machine.sources.len() });
                }
                machine.sources.push(config);
                workloads.push(source.workload.clone());
            }
        }
        lease::assign(self, machine, &open)?;
        if self.policy == VectorPolicy::Planned {
            planned::apply(self, machine, &open);
        }
        Ok((workloads, open))
    }

    fn source(&self, index: usize, source: &Source, copy: u32, machine: &MachineConfig) -> Result<SourceConfig, Fault> {
        let handler = self.handler(index, source, copy, machine)?;
        let start = handler.map_or(CpuId::BOOT, |(_, start)| start);
        self.check_priority(index, source)?;
        let vector = source.vector.map(Vector::new).transpose();
        let vector = vector.map_err(|error| Place::Source(index, "vector").fault(error))?;
        let (kind, path) = path::choose(self.path, index, source, handler.map(|(to, _)| to), machine)?;
        Ok(SourceConfig {
            id: SourceId(source.id + copy),
            label: copy_of(&source.label, source.copies, copy),
            owner: handler.map_or(Owner::System, |(to, _)| Owner::of(to.domain)),
            kind,
            vector: vector.filter(|_| path::needs_vector(source, &path)),
            target: source.cpu.map_or(start, CpuId),
            path,
        })
    }

    /// Which vCPU handles a source, and where it starts.
    fn handler(
        &self,
        index: usize,
        source: &Source,
        copy: u32,
        machine: &MachineConfig,
    ) -> Result<Option<(VcpuRef, CpuId)>, Fault> {
        let Some(domain) = source.domain else { return Ok(None) };
        let missing = || {
            let what = What::NoSuchDomain { label: source.label.clone(), domain };
            Place::Source(index, "domain").fault(what)
        };
        let written = self.domains.iter().find(|written| written.id == domain).ok_or_else(missing)?;
        // Copies of a source go round the copies of its domain, then round the vCPUs.
        let number = u32::from(domain) + copy % written.copies.max(1);
        let config = machine.domains.iter().find(|config| u32::from(config.id.0) == number).ok_or_else(missing)?;
        // Only a copy wraps around: the vCPU as written must be there, or the machine refuses it.
        let turn = copy / written.copies.max(1);
        let vcpus = config.vcpus.len().max(1);
        let vcpu = if turn == 0 { source.vcpu as usize } else { (source.vcpu as usize + turn as usize) % vcpus };
        let start = config.vcpus.get(vcpu).map_or(CpuId::BOOT, |vcpu| vcpu.start);
        #[expect(clippy::cast_possible_truncation, reason = "it came as u32, or is below the number of vCPUs")]
        Ok(Some((VcpuRef { domain: config.id, vcpu: vcpu as u32 }, start)))
    }

    /// Where a scenario is to blame for what the machine refuses.
    fn place_of(&self, error: &ConfigError) -> Place {
        let source = |id: u32| {
            let holds = |source: &Source| (source.id..source.id.saturating_add(source.copies)).contains(&id);
            Place::Source(self.sources.iter().position(holds).unwrap_or(0), "id")
        };
        match error {
            ConfigError::SourceTarget { source_id, .. }
            | ConfigError::NoSuchVcpu { source_id, .. }
            | ConfigError::SourceOwner { source_id, .. }
            | ConfigError::Path { source_id, .. }
            | ConfigError::VectorNotLeasable { source_id, .. }
            | ConfigError::NotToBeHad { source_id, .. }
            | ConfigError::SourceTwice { source_id } => source(*source_id),
            ConfigError::VectorTwice { second, .. } | ConfigError::GuestVectorTwice { second, .. } => source(*second),
            ConfigError::DomainTwice(domain)
            | ConfigError::DomainOwner { domain, .. }
            | ConfigError::VcpuStart { domain, .. }
            | ConfigError::EmptyPeriod { domain, .. }
            | ConfigError::EngineVendor { domain, .. }
            | ConfigError::EngineReach { domain, .. }
            | ConfigError::Deferred { domain, .. }
            | ConfigError::EventPorts { domain, .. }
            | ConfigError::Events { domain: Some(domain), .. } => {
                let holds = |written: &Domain| {
                    let ids = u32::from(written.id)..u32::from(written.id) + written.copies;
                    ids.contains(&u32::from(domain.0))
                };
                Place::Domain(self.domains.iter().rposition(holds).unwrap_or(0), "id")
            }
            ConfigError::NoVectorFor(_) => Place::Host("layout"),
            ConfigError::NoSlice | ConfigError::NullShared(_) => Place::Host("scheduler"),
            ConfigError::SoftwareEvents(_) | ConfigError::Iommu(_) => Place::Top("source"),
            ConfigError::TooManyEventDomains(_) | ConfigError::Events { domain: None, .. } => Place::Top("domain"),
            ConfigError::Cpus(_) | ConfigError::Host(_) | ConfigError::TooMany(_) => Place::Host("cpus"),
        }
    }
}

/// Where the vCPUs of one entry start: round their affinity, from the first or from the one given.
struct Starts {
    affinity: CpuSet,
    first: CpuId,
    cpus: Vec<CpuId>,
    from: usize,
}

impl Starts {
    fn new(vcpu: &Vcpu, cpus: u32) -> Self {
        let affinity = vcpu.affinity.on(cpus);
        let members: Vec<CpuId> = affinity.iter().collect();
        let first = vcpu.start.map(CpuId).or(members.first().copied()).unwrap_or(CpuId::BOOT);
        let from = members.iter().position(|cpu| *cpu == first).unwrap_or(0);
        Self { affinity, first, cpus: members, from }
    }

    /// Where the `turn`-th starts. The first starts where it is told, so that the machine can refuse a wrong place.
    fn nth(&self, turn: usize) -> CpuId {
        if turn == 0 || self.cpus.is_empty() {
            return self.first;
        }
        self.cpus[(self.from + turn) % self.cpus.len()]
    }
}

fn load(place: Place, load: Load) -> Result<VcpuLoad, Fault> {
    Ok(match load {
        Load::Idle => VcpuLoad::Idle,
        Load::Busy => VcpuLoad::Busy,
        Load::Periodic { run_us, sleep_us } => {
            for (name, value) in [("run_us", run_us), ("sleep_us", sleep_us)] {
                within(place.clone(), name, value, 0.001..=1e7, "0.001 to 10000000 microseconds")?;
            }
            VcpuLoad::Periodic { run: span(run_us), sleep: span(sleep_us) }
        }
    })
}

/// What handlers leave for later. The machine judges the class.
fn deferred(index: usize, work: DeferredWork) -> Result<carillon_machine::DeferredWork, Fault> {
    let DeferredWork { class, lasts_us } = work;
    within(Place::Domain(index, "deferred"), "lasts_us", lasts_us, 0.001..=1e6, "0.001 to 1000000 microseconds")?;
    Ok(carillon_machine::DeferredWork { class, lasts: span(lasts_us) })
}

/// The name of one of several alike.
fn copy_of(name: &str, copies: u32, copy: u32) -> String {
    if copies == 1 { name.to_owned() } else { format!("{name} {copy}") }
}

pub(super) fn within(
    place: Place,
    name: &'static str,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
    expected: &'static str,
) -> Result<(), Fault> {
    if range.contains(&value) { Ok(()) } else { Err(place.fault(What::OutOfRange { name, value, expected })) }
}

/// Refuses what is written down but not there.
fn at_least_one(place: Place, copies: u32) -> Result<(), Fault> {
    within(place, "copies", copies.into(), 1.0..=f64::from(u32::MAX), "1 or more")
}

/// Microseconds, already found in range.
pub(super) fn span(microseconds: f64) -> Span {
    #[expect(clippy::cast_possible_truncation, reason = "every time in a scenario is at most some hours")]
    Span((microseconds * 1e3).round() as u64)
}
