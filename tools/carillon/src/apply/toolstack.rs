//! What `apply` needs of a host, so that it can be tried on one that is a few lines of Rust.

use std::collections::BTreeMap;
use std::fmt;

use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::SourceFacts;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;

use crate::failure::Failure;

/// A host as a toolstack reaches it.
pub(crate) trait Toolstack {
    /// The host as it is now.
    fn look(&mut self) -> Result<HostSnapshot, Failure>;

    /// Which interrupts come, heard for a while.
    fn listen(&mut self) -> Result<Fired, Failure>;

    /// How a knob is set.
    fn setting(&mut self, knob: Knob) -> Result<CpuSet, Failure>;

    /// Sets a knob.
    fn set(&mut self, knob: Knob, to: &CpuSet) -> Result<(), Failure>;

    /// Takes a PCI function from its guest and gives it back.
    fn reattach(&mut self, guest: DomainId, function: &str) -> Result<(), Failure>;

    /// Lets some time pass before the next look.
    fn pause(&mut self);
}

/// Something of a host that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knob {
    /// The pCPUs a vCPU may run on: its hard affinity.
    Vcpu {
        /// Its domain.
        domain: DomainId,
        /// Its number.
        vcpu: u32,
    },
    /// The CPUs of dom0, which are its vCPUs, that may handle an interrupt.
    Interrupt {
        /// Dom0's number of it.
        number: u32,
    },
}

/// How often each interrupt came while somebody listened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fired {
    /// So often, by Xen's number of the interrupt; those that are not here did not come.
    Counted(BTreeMap<u32, u64>),
    /// Nobody listened: what waits for its next interrupt to be moved counts as silent.
    Guessed,
}

impl Fired {
    /// How often a source came; none if it does not fire.
    pub(crate) fn times(&self, source: &SourceFacts) -> Option<u64> {
        match self {
            Self::Counted(counts) => counts.get(&source.irq).copied().filter(|count| *count > 0),
            Self::Guessed => (!source.is_move_pending).then_some(1),
        }
    }
}

impl Knob {
    /// What is typed to set it.
    pub(crate) fn command(self, to: &CpuSet) -> String {
        let set = to.to_string();
        let list = set.trim_matches(['{', '}']);
        match self {
            Self::Vcpu { domain, vcpu } => format!("xl vcpu-pin {} {vcpu} {list}", domain.0),
            Self::Interrupt { number } => format!("echo {list} > /proc/irq/{number}/smp_affinity_list"),
        }
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpu { domain, vcpu } => write!(f, "the pCPUs of {domain}v{vcpu}"),
            Self::Interrupt { number } => write!(f, "the CPUs of dom0's interrupt {number}"),
        }
    }
}
