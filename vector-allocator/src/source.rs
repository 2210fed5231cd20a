//! What the arbiter must know of an interrupt source: whose it is, and whether it can hold the in-service bit.

use core::fmt;

use hypervisor_abi::DomainId;

/// Whose interrupt it is. A line that several domains share belongs to the least trusted of them: it is as slow to be
/// acknowledged as the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The hypervisor itself: its timer, its serial port, the IOMMU.
    System,
    /// The control domain, whose interrupts no guest may hold back.
    Dom0,
    /// An unprivileged domain.
    Guest(DomainId),
}

impl Owner {
    /// Whose the interrupts of a domain are.
    #[must_use]
    pub const fn of(domain: DomainId) -> Self {
        if domain.0 == DomainId::DOM0.0 { Self::Dom0 } else { Self::Guest(domain) }
    }

    /// Whether the owner is an unprivileged domain.
    #[must_use]
    pub const fn is_guest(self) -> bool {
        matches!(self, Self::Guest(_))
    }

    /// The owner of a line that both owners share.
    #[must_use]
    pub const fn least_trusted(self, other: Self) -> Self {
        match (self, other) {
            (Self::Guest(_), _) => self,
            (_, Self::Guest(_)) => other,
            (Self::Dom0, _) | (_, Self::Dom0) => Self::Dom0,
            (Self::System, Self::System) => Self::System,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("Xen"),
            Self::Dom0 => f.write_str("dom0"),
            Self::Guest(domain) => fmt::Display::fmt(domain, f),
        }
    }
}

/// How the source signals, as far as it matters to arbitration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Edge-triggered and maskable at the source: MSI-X, MSI with mask bits, an edge pin of an IO-APIC.
    EdgeMaskable,
    /// MSI without mask bits: nothing but the in-service bit can hold back the next one.
    EdgeUnmaskable,
    /// A level-triggered pin of an IO-APIC.
    Level,
    /// A vector the hypervisor reserves on every CPU to be told something: posted-interrupt notification, wake-up.
    Notification,
    /// Posted by the IOMMU straight to the guest: it has no host vector.
    Posted,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EdgeMaskable => "edge",
            Self::EdgeUnmaskable => "edge, unmaskable",
            Self::Level => "level",
            Self::Notification => "notification",
            Self::Posted => "posted",
        })
    }
}

/// How the hypervisor acknowledges level-triggered IO-APIC interrupts (Xen: `ioapic_ack=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum IoApicAck {
    /// EOI at the end of service; the in-service bit stays set until then. Xen's default.
    #[default]
    New,
    /// Mask at the source and EOI at once.
    Old,
}

/// When the local APIC is sent its EOI for an interrupt a domain handles (Xen: `irq_guest_action_t.ack_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckType {
    /// At once; the source may fire again.
    None,
    /// At once; the source stays masked until the domain is done.
    Unmask,
    /// When the domain is done, or after 1 ms: until then the in-service bit blocks its class and below.
    Eoi,
}

impl SourceKind {
    /// The acknowledgement a domain-bound source of this kind gets.
    #[must_use]
    pub const fn ack_type(self, ioapic: IoApicAck) -> AckType {
        match (self, ioapic) {
            (Self::EdgeMaskable | Self::Notification | Self::Posted, _) => AckType::None,
            (Self::EdgeUnmaskable, _) | (Self::Level, IoApicAck::New) => AckType::Eoi,
            (Self::Level, IoApicAck::Old) => AckType::Unmask,
        }
    }

    /// Whether the domain's handling time keeps the in-service bit set on the interrupted CPU.
    #[must_use]
    pub const fn retains_in_service(self, ioapic: IoApicAck) -> bool {
        matches!(self.ack_type(ioapic), AckType::Eoi)
    }
}
