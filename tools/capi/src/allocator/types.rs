//! What C and the arbiter say to each other.

use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

use crate::pointer::Plain;
use crate::status::Failure;

/// The owner of the hypervisor's own interrupts; any other owner is a domain's number, 0 for dom0.
pub const OWNER_XEN: u32 = 0xffff_ffff;

/// Which vectors there are to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Layout {
    /// Xen's map, with PV, PV32 and HPET broadcast configured in: 202 vectors on a CPU, 189 on CPU 0.
    Xen = 0,
    /// Xen's map without what is only newer versions': the HPET broadcast vector.
    XenWithoutHpetBroadcast = 1,
    /// Linux's map: 203 vectors on a CPU.
    Linux = 2,
}

/// How external interrupts are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Destination {
    /// One CPU each: a lease takes its vector on one CPU.
    Physical = 0,
    /// xAPIC flat logical mode: a lease takes its vector on all of up to 8 CPUs.
    Flat = 1,
    /// x2APIC cluster mode: a lease takes its vector on all CPUs of a cluster of 16.
    Cluster = 2,
}

/// Which rule chooses a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PolicyName {
    /// Xen's: one global cursor, stride 8, blind to owners.
    XenCursor = 0,
    /// Linux's: the CPU with the most vectors left, its lowest free vector.
    Spread = 1,
    /// Every guest's vector below every vector of dom0's on the same CPU, retaining sources lowest.
    BelowDom0 = 2,
}

/// How level-triggered interrupts are acknowledged (Xen: `ioapic_ack=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IoApicAckName {
    /// EOI at the end of service; Xen's default.
    New = 0,
    /// Mask at the source and EOI at once.
    Old = 1,
}

/// How a source signals, as far as it matters to arbitration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SourceKindName {
    /// Edge-triggered and maskable at the source: MSI-X, MSI with mask bits, an edge pin of an IO-APIC.
    EdgeMaskable = 0,
    /// MSI without mask bits.
    EdgeUnmaskable = 1,
    /// A level-triggered pin of an IO-APIC.
    Level = 2,
    /// A vector reserved on every CPU to be told something.
    Notification = 3,
    /// Posted by the IOMMU: needs no vector, and gets none.
    Posted = 4,
}

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AllocatorOptions {
    /// How many CPUs it has, 1 to 4096, whether in use or not.
    pub cpus: u32,
    /// One of `carillon_layout`.
    pub layout: u32,
    /// One of `carillon_destination`.
    pub destination: u32,
    /// One of `carillon_policy`.
    pub policy: u32,
    /// One of `carillon_io_apic_ack`.
    pub io_apic_ack: u32,
}

/// Where a lease's interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Placement {
    /// The host vector.
    pub vector: u32,
    /// The CPU the interrupt is sent to.
    pub target: u32,
    /// 1 while a move drains, else 0.
    pub is_moving: u32,
    /// The vector that drains, while a move does.
    pub old_vector: u32,
}

/// What became of a lease whose CPU was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fate {
    /// It has another vector or CPU now, to be programmed.
    Moved = 0,
    /// No CPU has a vector for it: silence its source until the CPU is back.
    Stranded = 1,
    /// An interrupt of it waited on the CPU, and is to be sent again to this vector and CPU.
    Forward = 2,
}

/// One lease of a CPU that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Evacuee {
    /// The lease.
    pub lease: u64,
    /// One of `carillon_fate`.
    pub fate: u32,
    /// The vector it has now.
    pub vector: u32,
    /// The CPU it is sent to now.
    pub cpu: u32,
}

// SAFETY: integers.
unsafe impl Plain for AllocatorOptions {}

impl AllocatorOptions {
    /// The arbiter of this host, of whose CPUs `online` can take interrupts.
    pub(super) fn arbiter(&self, online: &CpuSet) -> Result<VectorAllocator, Failure> {
        let layout = match self.layout {
            n if n == Layout::Xen as u32 => VectorLayout::xen(XenLayout::default()),
            n if n == Layout::XenWithoutHpetBroadcast as u32 => {
                VectorLayout::xen(XenLayout { hpet_broadcast: false, ..XenLayout::default() })
            }
            n if n == Layout::Linux as u32 => VectorLayout::linux(),
            n => return Err(Failure::value("layout", n)),
        };
        let model = match self.destination {
            n if n == Destination::Physical as u32 => DestinationModel::Physical,
            n if n == Destination::Flat as u32 => DestinationModel::FLAT,
            n if n == Destination::Cluster as u32 => DestinationModel::X2APIC_CLUSTER,
            n => return Err(Failure::value("destination", n)),
        };
        let policy = match self.policy {
            n if n == PolicyName::XenCursor as u32 => Policy::XenCursor,
            n if n == PolicyName::Spread as u32 => Policy::Spread,
            n if n == PolicyName::BelowDom0 as u32 => Policy::BelowDom0,
            n => return Err(Failure::value("policy", n)),
        };
        let ack = match self.io_apic_ack {
            n if n == IoApicAckName::New as u32 => IoApicAck::New,
            n if n == IoApicAckName::Old as u32 => IoApicAck::Old,
            n => return Err(Failure::value("way to acknowledge", n)),
        };
        Ok(VectorAllocator::new(layout, model, self.cpus, online, policy, ack)?)
    }
}

impl Placement {
    pub(super) fn of(placement: &vector_allocator::Placement<'_>) -> Self {
        Self {
            vector: u32::from(placement.vector.number()),
            target: placement.target.0,
            is_moving: u32::from(placement.moving_from.is_some()),
            old_vector: placement.moving_from.map_or(0, |old| u32::from(old.vector.number())),
        }
    }
}

/// The owner of a number.
pub(super) fn owner(number: u32) -> Result<Owner, Failure> {
    if number == OWNER_XEN {
        return Ok(Owner::System);
    }
    let domain = u16::try_from(number).ok().map(DomainId).filter(|domain| *domain < DomainId::FIRST_RESERVED);
    domain.map(Owner::of).ok_or_else(|| Failure::value("domain", number))
}

/// The vector of a number.
pub(super) fn vector(number: u32) -> Result<Vector, Failure> {
    let vector = u8::try_from(number).ok().and_then(|number| Vector::new(number).ok());
    vector.ok_or_else(|| Failure::value("vector", number))
}

/// The kind of source of a number.
pub(super) fn source_kind(number: u32) -> Result<SourceKind, Failure> {
    const ALL: [(SourceKindName, SourceKind); 5] = [
        (SourceKindName::EdgeMaskable, SourceKind::EdgeMaskable),
        (SourceKindName::EdgeUnmaskable, SourceKind::EdgeUnmaskable),
        (SourceKindName::Level, SourceKind::Level),
        (SourceKindName::Notification, SourceKind::Notification),
        (SourceKindName::Posted, SourceKind::Posted),
    ];
    let found = ALL.into_iter().find(|(name, _)| *name as u32 == number);
    found.map(|(_, kind)| kind).ok_or_else(|| Failure::value("kind of source", number))
}
