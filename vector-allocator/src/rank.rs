//! The three ranks `below-dom0` keeps apart.

use core::fmt;

use crate::IoApicAck;
use crate::Owner;
use crate::SourceKind;

/// What a source may do to others on its CPU, and so where its vector belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// A guest's source that can hold the in-service bit: it belongs below everything, in a class of its own.
    Retaining,
    /// Any other guest's source.
    Guest,
    /// A source of dom0 or of the hypervisor.
    Host,
}

impl Rank {
    /// The rank of a source.
    #[must_use]
    pub const fn of(owner: Owner, kind: SourceKind, ack: IoApicAck) -> Self {
        match owner {
            Owner::System | Owner::Dom0 => Self::Host,
            Owner::Guest(_) if kind.retains_in_service(ack) => Self::Retaining,
            Owner::Guest(_) => Self::Guest,
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retaining => "guest source that can retain its in-service bit",
            Self::Guest => "guest source",
            Self::Host => "dom0 or system source",
        })
    }
}
