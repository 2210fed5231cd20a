//! Where a guest's interrupt outranks dom0's, could come to, or can hold it back.

use crate::CpuSet;
use crate::SourceId;

/// How long Xen lets a domain keep an interrupt in service before it sends the EOI itself, ns
/// (`irq_guest_eoi_timer_fn`: 1 ms).
pub const FORCED_EOI_NS: u64 = 1_000_000;

/// A guest-owned source and a dom0-owned one in the wrong order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inversion {
    /// What kind of harm it is.
    pub kind: InversionKind,
    /// The guest's source.
    pub guest: SourceId,
    /// Dom0's source.
    pub dom0: SourceId,
    /// The CPUs where it holds, or could.
    pub cpus: CpuSet,
}

/// The three kinds of harm, from the mildest to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InversionKind {
    /// The masks overlap: a change of affinity or the scheduler alone can bring them together.
    Possible(Chance),
    /// The guest's vector is above dom0's on the same CPU now: when both wait, dom0 is served second.
    Rank,
    /// The guest's source keeps the in-service bit until the guest is done, at most [`FORCED_EOI_NS`]: until then dom0's
    /// source cannot be delivered on that CPU at all.
    Retention(When),
}

/// What would decide the order if two sources met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chance {
    /// The vectors they hold now travel with them (logical destinations).
    VectorsKept,
    /// The mover draws a new vector (physical destinations): the order is a lottery.
    VectorDrawn,
}

/// Whether a harm is there now or needs a move first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Both sources target the same CPU as the host stands.
    Now,
    /// Their reachable CPUs overlap.
    AfterMove,
}
