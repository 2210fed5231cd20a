//! The rules by which a vector and a CPU are chosen.

/// Which rule chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Xen's: one global cursor, stride 8, blind to owners (`_assign_irq_vector`).
    XenCursor,
    /// Linux's: the first CPU with the most vectors left, its lowest free vector (`kernel/irq/matrix.c`).
    Spread,
    /// Ours: on every CPU every guest's vector ranks below every vector of dom0's, sources that can retain the
    /// in-service bit lowest of all; the boundaries float with demand.
    BelowDom0,
}
