//! Which way an interrupt takes: as the scenario says, or as the path to compare for all says.

use carillon_machine::FifoPriority;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::VcpuRef;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

use super::DeliveryPath;
use super::DevicePath;
use super::Fault;
use super::Place;
use super::Source;
use super::SourceKind;
use super::fault::What;
use super::setup::span;

/// The kind and path of a source under a path of all. Such paths are for guests' devices: software events, dom0's and the
/// hypervisor's own sources stay as they are.
pub(super) fn choose(
    path: DevicePath,
    index: usize,
    source: &Source,
    handler: Option<VcpuRef>,
    machine: &MachineConfig,
) -> Result<(vector_allocator::SourceKind, Path), Fault> {
    let refuse = |reason| Place::Source(index, "path").fault(What::Path { label: source.label.clone(), reason });
    let handler_span = span(source.handler_us);
    let Some(to) = handler else {
        let interruptible = match source.path {
            DeliveryPath::Event => false,
            DeliveryPath::Interruptible => true,
            DeliveryPath::Remapped | DeliveryPath::Posted | DeliveryPath::Ipi => return Err(refuse(NEEDS_DOMAIN)),
        };
        return Ok((kind_of(source.kind), Path::Hypervisor { handler: handler_span, interruptible }));
    };
    let is_guests_device = to.domain.0 != 0 && source.kind != SourceKind::Software;
    let wanted = match path {
        DevicePath::Event if is_guests_device => DeliveryPath::Event,
        DevicePath::Remapped if is_guests_device => DeliveryPath::Remapped,
        // The IOMMU posts messages only; a pin has none (answers: level-triggered sources keep a host vector).
        DevicePath::Posted if is_guests_device && source.kind == SourceKind::Level => DeliveryPath::Remapped,
        DevicePath::Posted if is_guests_device => DeliveryPath::Posted,
        _ => source.path,
    };
    let is_posted_to = machine.domains.iter().find(|domain| domain.id == to.domain).is_some_and(|domain| {
        !matches!(domain.engine, carillon_machine::Engine::Software | carillon_machine::Engine::Apicv)
    });
    match wanted {
        DeliveryPath::Ipi if source.kind != SourceKind::Software => Err(refuse(NO_DEVICE)),
        DeliveryPath::Ipi => {
            let guest_vector = guest_vector(index, source, to, machine)?;
            let from = sender(source, to, machine);
            Ok((kind_of(source.kind), Path::Ipi { from, to, guest_vector, handler: handler_span }))
        }
        DeliveryPath::Event => {
            Ok((kind_of(source.kind), Path::EventChannel { to, handler: handler_span, priority: priority_of(source) }))
        }
        DeliveryPath::Interruptible => Err(refuse(NEEDS_HYPERVISOR)),
        DeliveryPath::Remapped if source.kind == SourceKind::Software => Err(refuse(SOFTWARE)),
        DeliveryPath::Posted if source.kind == SourceKind::Software => Err(refuse(SOFTWARE)),
        DeliveryPath::Posted if source.kind == SourceKind::Level => Err(refuse(LEVEL_POSTED)),
        DeliveryPath::Posted if !is_posted_to => {
            let guest_vector = guest_vector(index, source, to, machine)?;
            Ok((kind_of(source.kind), Path::Remapped { to, guest_vector, handler: handler_span }))
        }
        DeliveryPath::Remapped => {
            let guest_vector = guest_vector(index, source, to, machine)?;
            Ok((kind_of(source.kind), Path::Remapped { to, guest_vector, handler: handler_span }))
        }
        DeliveryPath::Posted => {
            let guest_vector = guest_vector(index, source, to, machine)?;
            let kind = vector_allocator::SourceKind::Posted;
            Ok((kind, Path::Posted { to, guest_vector, handler: handler_span }))
        }
    }
}

const NEEDS_DOMAIN: &str = "the hypervisor's own source cannot be remapped or posted: expected a domain";
const NEEDS_HYPERVISOR: &str = "only the hypervisor's own handlers are interruptible: expected no domain";
const NO_DEVICE: &str = "no device sends from vCPU to vCPU: expected kind \"software\"";
const SOFTWARE: &str = "software raises no vector: expected the path \"event\"";
const LEVEL_POSTED: &str = "a level-triggered pin cannot be posted: expected \"event\" or \"remapped\"";

/// Whether a source on this path holds a host vector.
pub(super) fn needs_vector(source: &Source, path: &Path) -> bool {
    source.kind != SourceKind::Software && !matches!(path, Path::Posted { .. })
}

const fn kind_of(kind: SourceKind) -> vector_allocator::SourceKind {
    match kind {
        SourceKind::Edge | SourceKind::Software => vector_allocator::SourceKind::EdgeMaskable,
        SourceKind::EdgeUnmaskable => vector_allocator::SourceKind::EdgeUnmaskable,
        SourceKind::Level => vector_allocator::SourceKind::Level,
    }
}

/// Who sends an interrupt to `to`: for a copy, as far from its vCPU as in the source as written.
fn sender(source: &Source, to: VcpuRef, machine: &MachineConfig) -> VcpuRef {
    let domain = machine.domains.iter().find(|domain| domain.id == to.domain);
    let vcpus = domain.and_then(|domain| u64::try_from(domain.vcpus.len()).ok()).unwrap_or(1).max(1);
    // One that is not there the machine refuses.
    if let Some(missing) = source.from.filter(|from| u64::from(*from) >= vcpus) {
        return VcpuRef { vcpu: missing, ..to };
    }
    let from = source.from.map_or(u64::from(source.vcpu) + 1, u64::from);
    let turn = u64::from(to.vcpu) + vcpus - u64::from(source.vcpu) % vcpus;
    VcpuRef { vcpu: u32::try_from((from + turn) % vcpus).unwrap_or(0), ..to }
}

/// The priority given, already found in range, or the default.
fn priority_of(source: &Source) -> FifoPriority {
    source.priority.and_then(|number| FifoPriority::new(number).ok()).unwrap_or(FifoPriority::DEFAULT)
}

/// The guest vector given, or the lowest one from 0x30 on that no earlier source of the vCPU uses.
fn guest_vector(index: usize, source: &Source, to: VcpuRef, machine: &MachineConfig) -> Result<Vector, Fault> {
    if let Some(number) = source.guest_vector {
        return Vector::new(number).map_err(|error| Place::Source(index, "guest_vector").fault(error));
    }
    let used: VectorSet = machine.sources.iter().filter_map(|other| vector_at(&other.path, to)).collect();
    let free = Vector::all().find(|vector| vector.number() >= 0x30 && !used.contains(*vector));
    let reason = || "all guest vectors of its vCPU are in use".to_owned();
    free.ok_or_else(|| {
        Place::Source(index, "guest_vector").fault(What::NoVector { label: source.label.clone(), reason: reason() })
    })
}

/// The guest vector a path uses at a vCPU.
fn vector_at(path: &Path, vcpu: VcpuRef) -> Option<Vector> {
    path.guest_vector().filter(|_| path.handler() == Some(vcpu))
}
