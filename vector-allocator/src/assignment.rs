//! A host as it is: who holds which vector where. The input of inspection and planning, and their common language.

use alloc::string::String;
use alloc::vec::Vec;

use crate::CpuSet;
use crate::DestinationModel;
use crate::IoApicAck;
use crate::Owner;
use crate::SourceKind;
use crate::Vector;
use crate::VectorLayout;

/// Every source of a host with the vector it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The map of vectors in force.
    pub layout: VectorLayout,
    /// How external interrupts are addressed.
    pub model: DestinationModel,
    /// The CPUs that can take interrupts.
    pub online: CpuSet,
    /// How level-triggered interrupts are acknowledged.
    pub ioapic_ack: IoApicAck,
    /// The sources that hold a vector.
    pub sources: Vec<AssignedSource>,
}

/// A source's number: the IRQ number on Xen and Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// One source and the vector it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedSource {
    /// The source's number.
    pub id: SourceId,
    /// What a person calls it: `megaraid_sas`, `0000:00:04.0 MSI-X 0`.
    pub label: String,
    /// Whose it is; of a shared line, its least trusted binder.
    pub owner: Owner,
    /// Every domain bound to it, as far as known. Empty while nobody is: then it cannot fire.
    pub binders: Vec<Owner>,
    /// How it signals.
    pub kind: SourceKind,
    /// The host vector it holds.
    pub vector: Vector,
    /// The CPUs on which the vector is taken.
    pub holders: CpuSet,
    /// The CPUs the hardware may deliver it to as it is programmed now.
    pub target: CpuSet,
    /// The CPUs it can come to without anyone deciding so: its affinity, or where its vCPU may be scheduled.
    pub reachable: CpuSet,
    /// Whether a plan may give it another vector.
    pub mobility: Mobility,
}

/// Whether a plan may move a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mobility {
    /// It may be given another vector or CPU.
    Movable,
    /// It must stay, for this reason.
    Fixed(String),
}

impl AssignedSource {
    /// Whether any domain or handler is bound to it, so that it can fire.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        !self.binders.is_empty()
    }

    /// Whether it can keep the in-service bit set while a guest takes its time.
    #[must_use]
    pub fn guest_can_retain(&self, ack: IoApicAck) -> bool {
        self.owner.is_guest() && self.is_bound() && self.kind.retains_in_service(ack)
    }
}
