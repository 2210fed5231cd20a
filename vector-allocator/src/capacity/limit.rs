//! One limit each: what is needed, what there is, and which knob to turn.

use alloc::string::String;
use core::fmt;

/// A limit of the host, of a domain or of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub kind: LimitKind,
    /// How much the request needs, with what is taken already.
    pub needed: u64,
    /// How much there is.
    pub available: u64,
    /// What to change, if the request does not fit: the option with the value to set.
    pub remedy: Option<String>,
}

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Vectors of all CPUs of the host; with logical destinations, of all clusters.
    HostVectors,
    /// IRQ numbers of the host.
    HostIrqs,
    /// The APIC ids an MSI of the host can name.
    HostDestination,
    /// Physical interrupts (PIRQs) of a domain.
    DomainIrqs,
    /// Event channels the toolstack grants a domain.
    EventChannels,
    /// Ports of the domain's event-channel ABI.
    EventPorts,
    /// The APIC ids an MSI of the domain can name.
    DomainDestination,
    /// Interrupts one device can have.
    DeviceInterrupts,
    /// Vectors of the domain's kernel, over all its vCPUs.
    LinuxVectors,
    /// Vectors of the domain's kernel that managed interrupts reserve on each vCPU.
    LinuxManaged,
}

impl Limit {
    /// Whether there is enough.
    #[must_use]
    pub const fn is_met(&self) -> bool {
        self.needed <= self.available
    }

    /// Whether this one is nearer to its end, or further past it, than `other`.
    #[must_use]
    pub fn binds_before(&self, other: &Self) -> bool {
        let load = |a: &Self, b: &Self| u128::from(a.needed) * u128::from(b.available);
        if self.is_met() != other.is_met() {
            return !self.is_met();
        }
        load(self, other) > load(other, self)
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostVectors => "vectors of the host",
            Self::HostIrqs => "IRQ numbers of the host",
            Self::HostDestination => "highest APIC id of the host",
            Self::DomainIrqs => "physical interrupts of a domain",
            Self::EventChannels => "event channels granted to a domain",
            Self::EventPorts => "ports of the event-channel ABI",
            Self::DomainDestination => "highest APIC id of a domain",
            Self::DeviceInterrupts => "interrupts of a device",
            Self::LinuxVectors => "vectors of a domain's kernel",
            Self::LinuxManaged => "managed vectors on each vCPU",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {}", self.kind, self.needed, self.available)?;
        match &self.remedy {
            Some(remedy) if !self.is_met() => write!(f, "; {remedy}"),
            _ => Ok(()),
        }
    }
}
