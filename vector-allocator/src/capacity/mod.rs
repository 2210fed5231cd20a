//! Exhaustion answered before it happens: do N devices × M queues for domains of V vCPUs fit on P CPUs?
//!
//! ```text
//!   device ──► host                       ──► domain                        ──► kernel in it
//!   MSI 32     IRQ numbers: nr_irqs           PIRQs: extra_guest_irqs          203 vectors per vCPU,
//!   MSI-X 2048 vectors: 202 per CPU           event channels, or               of these managed ones
//!              (or cluster!), 189 on CPU 0    APIC ids of vCPUs                on every vCPU
//!              APIC ids in 8 bits
//! ```
//!
//! Every limit on this way is in the answer with what is needed and what there is; the first to bind is named, with the
//! option that lifts it.

mod limit;
mod request;

pub use limit::Limit;
pub use limit::LimitKind;
pub use request::Arrival;
pub use request::CapacityRequest;
pub use request::Devices;
pub use request::Domains;
pub use request::EventAbi;
pub use request::Holder;
pub use request::HostLimits;
pub use request::MsiDestination;
pub use request::Signal;
pub use request::Spread;

use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::CpuId;
use crate::DestinationModel;
use crate::VectorLayout;

/// Vectors that a host's dynamic range spans, reserved ones included (Xen: `NR_DYNAMIC_VECTORS`, 0x20 to 0xef).
const DYNAMIC_VECTORS: u64 = 208;
/// Most physical interrupts that Xen computes for dom0: one bit each in a page (`arch_hwdom_irqs`, `PAGE_SIZE * 8`).
const DOM0_IRQS: u64 = 32_768;
const MSI_INTERRUPTS: u64 = 32;
const MSIX_INTERRUPTS: u64 = 2048;

/// Whether a request fits, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityAnswer {
    /// Every limit that applies.
    pub limits: Vec<Limit>,
    /// The most queues per device that fit, the rest of the request as it is; none if not even none do.
    pub largest_queues: Option<u32>,
}

impl CapacityAnswer {
    /// Whether every limit is met.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.limits.iter().all(Limit::is_met)
    }

    /// The limit that binds: the one furthest past its end, or nearest to it.
    #[must_use]
    pub fn binding(&self) -> Option<&Limit> {
        self.limits.iter().reduce(|binding, limit| if limit.binds_before(binding) { limit } else { binding })
    }
}

/// Answers a request. Numbers that make no sense (no CPUs, no vCPUs) do not fit.
#[must_use]
pub fn capacity(request: &CapacityRequest) -> CapacityAnswer {
    CapacityAnswer { limits: limits(request), largest_queues: largest_queues(request) }
}

/// The most queues that fit. Every need grows with the queues, so the border can be found by halving.
fn largest_queues(request: &CapacityRequest) -> Option<u32> {
    let fits = |queues: u32| {
        let devices = Devices { queues, ..request.devices };
        limits(&CapacityRequest { devices, ..request.clone() }).iter().all(Limit::is_met)
    };
    if !fits(0) {
        return None;
    }
    // No device has more interrupts than this.
    let (mut fitting, mut too_many) = (0, 2049);
    while too_many - fitting > 1 {
        let middle = fitting + (too_many - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            too_many = middle;
        }
    }
    Some(fitting)
}

/// Every limit on the way from device to kernel.
fn limits(request: &CapacityRequest) -> Vec<Limit> {
    let interrupts = interrupts_per_device(&request.devices);
    let per_domain = u64::from(request.devices.count).saturating_mul(interrupts);
    let domains = match request.holder.domains {
        Domains::Dom0 => 1,
        Domains::Guests(count) => u64::from(count),
    };
    let total = per_domain.saturating_mul(domains);
    let mut limits = Vec::from([
        device_interrupts(request, interrupts),
        host_vectors(&request.host, total),
        host_irqs(&request.host, total),
        host_destination(&request.host),
        domain_irqs(request, per_domain),
    ]);
    match request.holder.arrival {
        Arrival::EventChannels(abi) => {
            let needed = per_domain.saturating_add(u64::from(request.holder.events_taken));
            if let Domains::Guests(_) = request.holder.domains {
                limits.push(event_channels(&request.host, needed));
            }
            limits.push(event_ports(abi, needed));
        }
        Arrival::LocalApic(destination) => limits.extend(in_the_kernel(request, per_domain, destination)),
    }
    limits
}

/// Interrupts of one device; MSI hands them out in powers of two.
fn interrupts_per_device(devices: &Devices) -> u64 {
    let asked = u64::from(devices.queues) + u64::from(devices.control_interrupts);
    match devices.signal {
        Signal::MsiX => asked,
        Signal::Msi if asked == 0 => 0,
        Signal::Msi => asked.next_power_of_two(),
    }
}

fn device_interrupts(request: &CapacityRequest, needed: u64) -> Limit {
    let is_remapped = request.host.destination == MsiDestination::Remapped;
    let (available, remedy) = match request.devices.signal {
        Signal::MsiX => {
            (MSIX_INTERRUPTS, Some("no device has more: fewer queues per device, or more devices".to_string()))
        }
        Signal::Msi if is_remapped => (MSI_INTERRUPTS, Some("use MSI-X, or fewer queues".to_string())),
        Signal::Msi => (1, Some("several MSIs per device need interrupt remapping: iommu=intremap".to_string())),
    };
    Limit { kind: LimitKind::DeviceInterrupts, needed, available, remedy }
}

fn host_vectors(host: &HostLimits, new: u64) -> Limit {
    let needed = new.saturating_add(u64::from(host.vectors_taken));
    let available = vectors_of_host(&host.layout, host.model, host.cpus);
    let is_logical = matches!(host.model, DestinationModel::Logical { .. });
    let in_physical = vectors_of_host(&host.layout, DestinationModel::Physical, host.cpus);
    let remedy = match is_logical && needed <= in_physical {
        true => "physical destinations give every CPU its own vectors: x2apic_phys=1".to_string(),
        false => "fewer queues per device, or more CPUs online".to_string(),
    };
    Limit { kind: LimitKind::HostVectors, needed, available, remedy: Some(remedy) }
}

/// How many vectors can be leased on all of `cpus` CPUs together: each CPU's own, or each cluster's common ones.
#[must_use]
pub fn vectors_of_host(layout: &VectorLayout, model: DestinationModel, cpus: u32) -> u64 {
    let (boot, other) = (layout.leasable(CpuId::BOOT), layout.leasable(CpuId(1)));
    let size = match model {
        DestinationModel::Physical => 1,
        DestinationModel::Logical { cluster_size } => cluster_size.max(1),
    };
    let first = if size.min(cpus) > 1 { boot.intersection(other).len() } else { boot.len() };
    match cpus.div_ceil(size) {
        0 => 0,
        clusters => u64::from(first) + u64::from(clusters - 1) * u64::from(other.len()),
    }
}

fn host_irqs(host: &HostLimits, new: u64) -> Limit {
    let needed = new.saturating_add(u64::from(host.irqs_taken)).saturating_add(u64::from(host.gsis));
    Limit { kind: LimitKind::HostIrqs, needed, available: nr_irqs(host), remedy: Some(start_with("nr_irqs=", needed)) }
}

/// Xen's number of IRQs (`init_irq_data`): what the CPUs could take, eight times the GSIs at least.
fn nr_irqs(host: &HostLimits) -> u64 {
    let computed = (u64::from(host.cpus) * DYNAMIC_VECTORS).max(8 * u64::from(host.gsis));
    host.nr_irqs.map_or(computed, u64::from)
}

fn host_destination(host: &HostLimits) -> Limit {
    Limit {
        kind: LimitKind::HostDestination,
        needed: u64::from(host.highest_apic_id),
        available: u64::from(host.destination.highest()),
        remedy: Some("CPUs with higher APIC ids need interrupt remapping: iommu=intremap".to_string()),
    }
}

fn domain_irqs(request: &CapacityRequest, new: u64) -> Limit {
    let host = &request.host;
    let needed = new.saturating_add(u64::from(request.holder.irqs_taken));
    let set = match request.holder.domains {
        Domains::Guests(_) => u64::from(host.extra_guest_irqs),
        Domains::Dom0 => match host.extra_dom0_irqs {
            None | Some(0) => dom0_irqs(host, request.holder.vcpus).saturating_sub(u64::from(host.gsis)),
            Some(extra) => u64::from(extra),
        },
    };
    let room = nr_irqs(host).saturating_sub(u64::from(host.gsis));
    let option = match request.holder.domains {
        Domains::Guests(_) => "extra_guest_irqs=",
        Domains::Dom0 => "extra_guest_irqs=,",
    };
    let remedy = start_with(option, needed);
    Limit { kind: LimitKind::DomainIrqs, needed, available: set.min(room), remedy: Some(remedy) }
}

/// Xen's number of dom0's physical interrupts, GSIs among them, where none is set (`arch_hwdom_irqs`): the vectors of one
/// CPU for each bit of the number of CPUs, but of no more CPUs than dom0 has vCPUs (`dom0_max_vcpus`).
fn dom0_irqs(host: &HostLimits, vcpus: u32) -> u64 {
    let shares = (u32::BITS - host.cpus.leading_zeros()).min(vcpus);
    (u64::from(host.gsis) + u64::from(shares) * DYNAMIC_VECTORS).min(nr_irqs(host)).min(DOM0_IRQS)
}

/// The option of Xen's command line that provides `needed`, if its 32 bits can.
fn start_with(option: &str, needed: u64) -> String {
    match u32::try_from(needed) {
        Ok(needed) => format!("start Xen with {option}{needed}"),
        Err(_) => format!("cannot be reached: {option} takes 32 bits"),
    }
}

fn event_channels(host: &HostLimits, needed: u64) -> Limit {
    let available = u64::from(host.max_event_channels);
    let remedy = match needed <= u64::from(EventAbi::Fifo.ports()) {
        true => format!("configure the guest with max_event_channels={needed}"),
        false => format!("cannot be reached: no guest has more than {} ports", EventAbi::Fifo.ports()),
    };
    Limit { kind: LimitKind::EventChannels, needed, available, remedy: Some(remedy) }
}

fn event_ports(abi: EventAbi, needed: u64) -> Limit {
    let remedy = match needed <= u64::from(EventAbi::Fifo.ports()) {
        true => "use a kernel with FIFO event channels".to_string(),
        false => format!("cannot be reached: FIFO, the largest ABI, has {} ports", EventAbi::Fifo.ports()),
    };
    Limit { kind: LimitKind::EventPorts, needed, available: u64::from(abi.ports()), remedy: Some(remedy) }
}

/// The limits of a domain that takes MSIs on its own local APICs.
fn in_the_kernel(request: &CapacityRequest, per_domain: u64, destination: MsiDestination) -> Vec<Limit> {
    let vcpus = u64::from(request.holder.vcpus);
    let linux = VectorLayout::linux();
    let per_vcpu = u64::from(linux.leasable(CpuId(1)).len());
    let mut limits = Vec::from([
        Limit {
            kind: LimitKind::DomainDestination,
            // Xen gives vCPU n the APIC id 2n.
            needed: 2 * vcpus.saturating_sub(1),
            available: u64::from(destination.highest()),
            remedy: Some("more vCPUs need extended destination ids or a virtual IOMMU".to_string()),
        },
        Limit {
            kind: LimitKind::LinuxVectors,
            needed: per_domain.saturating_add(u64::from(request.holder.vectors_taken)),
            available: vcpus * per_vcpu,
            remedy: Some("fewer queues per device, or more vCPUs".to_string()),
        },
    ]);
    if request.devices.spread == Spread::Managed {
        // One device's masks cover every CPU once, more often only when it has more queues than there are CPUs.
        let rounds = u64::from(request.devices.queues).div_ceil(vcpus.max(1));
        limits.push(Limit {
            kind: LimitKind::LinuxManaged,
            needed: u64::from(request.devices.count) * rounds,
            available: if vcpus == 0 { 0 } else { per_vcpu },
            remedy: Some("fewer devices per domain".to_string()),
        });
    }
    limits
}
