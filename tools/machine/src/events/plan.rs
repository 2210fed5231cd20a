//! Which domains use event channels, and what each of their ports is for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use guest_shim::EoiMode;
use hypervisor_abi::DomainId as XenId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_abi::event::FifoPriority;
use hypervisor_lib::event::MAX_VCPUS;
use vector_allocator::AckType;
use vector_allocator::DomainId;

use super::memory::Extent;
use crate::ConfigError;
use crate::DomainKind;
use crate::EventAbi;
use crate::MachineConfig;
use crate::Path;
use crate::PathFault;
use crate::SourceIndex;

/// A domain that uses event channels.
#[derive(Debug)]
pub(super) struct GuestPlan {
    pub(super) domain: DomainId,
    pub(super) kind: DomainKind,
    pub(super) abi: EventAbi,
    software_eoi: EoiMode,
    /// One more than the highest vCPU that has a port.
    pub(super) vcpus: u32,
    pub(super) pirqs: u32,
    /// Whose ports they are, port 1 first.
    sources: Vec<SourceIndex>,
}

/// What a port is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortPlan {
    pub(super) vcpu: VcpuId,
    pub(super) priority: FifoPriority,
    pub(super) line: Line,
}

/// What raises a port.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    /// A physical IRQ of this number in the domain.
    Pirq { number: u32, ack: AckType },
    /// Software; its events end so.
    Software(EoiMode),
}

impl GuestPlan {
    /// How much memory it needs.
    pub(super) fn extent(&self) -> Extent {
        Extent { abi: self.abi, vcpus: self.vcpus, ports: count(&self.sources), pirqs: self.pirqs }
    }

    /// How many ports it has.
    pub(super) fn port_count(&self) -> usize {
        self.sources.len()
    }

    /// Whose its ports are, port 1 first.
    pub(super) fn sources(&self) -> impl Iterator<Item = SourceIndex> + '_ {
        self.sources.iter().copied()
    }

    /// What its ports are for, port 1 first.
    pub(super) fn ports<'c>(&'c self, config: &'c MachineConfig) -> impl Iterator<Item = PortPlan> + 'c {
        let mut pirqs = 0..;
        self.sources.iter().filter_map(move |index| {
            let source = &config.sources[index.0 as usize];
            let Path::EventChannel { to, priority, .. } = source.path else { return None };
            let line = match source.vector {
                Some(_) => Line::Pirq { number: pirqs.next()?, ack: source.kind.ack_type(config.ioapic_ack) },
                None => Line::Software(self.software_eoi),
            };
            Some(PortPlan { vcpu: VcpuId(to.vcpu), priority, line })
        })
    }
}

/// The domains that use event channels, in the order of the configuration.
///
/// # Errors
/// More ports, vCPUs or domains than event channels can have.
pub(super) fn plan(config: &MachineConfig) -> Result<Vec<GuestPlan>, ConfigError> {
    let mut guests: BTreeMap<DomainId, GuestPlan> = BTreeMap::new();
    for (index, source) in (0u32..).zip(&config.sources) {
        let Path::EventChannel { to, .. } = source.path else { continue };
        if to.vcpu >= MAX_VCPUS {
            return Err(ConfigError::Path { source_id: source.id.0, reason: PathFault::EventVcpu });
        }
        let Some(domain) = config.domains.iter().find(|domain| domain.id == to.domain) else { continue };
        let guest = guests.entry(to.domain).or_insert_with(|| GuestPlan {
            domain: domain.id,
            kind: domain.kind,
            abi: domain.event_abi,
            software_eoi: domain.software_eoi,
            vcpus: 0,
            pirqs: 0,
            sources: Vec::new(),
        });
        guest.pirqs += u32::from(source.vector.is_some());
        guest.vcpus = guest.vcpus.max(to.vcpu + 1);
        guest.sources.push(SourceIndex(index));
    }
    let guests: Vec<GuestPlan> = guests.into_values().collect();
    if guests.len() >= usize::from(XenId::FIRST_RESERVED.0) {
        return Err(ConfigError::TooManyEventDomains(guests.len()));
    }
    for guest in &guests {
        let (ports, limit) = (count(&guest.sources), guest.abi.ports());
        if ports > limit {
            return Err(ConfigError::EventPorts { domain: guest.domain, ports, limit });
        }
    }
    let software = software_ports(&guests);
    if software >= FIFO_CHANNELS {
        return Err(ConfigError::SoftwareEvents(software));
    }
    Ok(guests)
}

/// How many ports software raises.
pub(super) fn software_ports(guests: &[GuestPlan]) -> u32 {
    guests.iter().map(|guest| count(&guest.sources) - guest.pirqs).sum()
}

/// How many there are; all sources have 32-bit numbers.
fn count(sources: &[SourceIndex]) -> u32 {
    u32::try_from(sources.len()).unwrap_or(u32::MAX)
}
