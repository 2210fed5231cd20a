//! The question: how many devices with how many queues, for whom, on what.

use crate::DestinationModel;
use crate::VectorLayout;

/// N devices × M queues for domains of V vCPUs on P physical CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityRequest {
    /// What is to be attached.
    pub devices: Devices,
    /// To whom.
    pub holder: Holder,
    /// The host that carries it.
    pub host: HostLimits,
}

/// Devices of one kind, per domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// How many devices each domain gets.
    pub count: u32,
    /// Queues per device, each with an interrupt of its own.
    pub queues: u32,
    /// Interrupts per device besides those of its queues: link state, administration.
    pub control_interrupts: u32,
    /// How they signal.
    pub signal: Signal,
    /// Who spreads the queues' interrupts over the domain's CPUs.
    pub spread: Spread,
}

/// How a device signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// MSI: at most 32 per device (PCI 3.0, 6.8.1.3), in powers of two; more than one needs interrupt remapping on Xen.
    Msi,
    /// MSI-X: at most 2048 per device (PCI 3.0, 6.8.2).
    MsiX,
}

/// Who spreads a device's interrupts in Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each interrupt takes a vector on one CPU.
    OnDemand,
    /// Managed by the kernel: each interrupt keeps a vector reserved on every CPU of its mask, so that the masks of one
    /// device's queues together cover every CPU (`irq_matrix_reserve_managed`).
    Managed,
}

/// Who gets the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Dom0 or guests.
    pub domains: Domains,
    /// vCPUs of each domain; of dom0 what it was started with (`dom0_max_vcpus`).
    pub vcpus: u32,
    /// How the interrupts reach the domain.
    pub arrival: Arrival,
    /// Physical interrupts each domain has already, of those that count against its number.
    pub irqs_taken: u32,
    /// Event channels each domain has already: timers, IPIs, xenstore, console, virtual devices.
    pub events_taken: u32,
    /// Linux vectors each domain has in use already, over all its CPUs.
    pub vectors_taken: u32,
}

/// The domains that get the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domains {
    /// Dom0 alone.
    Dom0,
    /// This many guests, each with its own devices.
    Guests(u32),
}

/// How physical interrupts reach a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Each over an event channel: PV domains, and HVM with `hvm_pirq=1`.
    EventChannels(EventAbi),
    /// As native MSI to the domain's own local APICs.
    LocalApic(MsiDestination),
}

/// The event-channel ABI of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventAbi {
    /// Two-level bitmap of a 32-bit domain: 1024 ports.
    TwoLevel32,
    /// Two-level bitmap of a 64-bit domain: 4096 ports.
    TwoLevel64,
    /// FIFO queues: 131072 ports.
    Fifo,
}

/// How many bits of APIC id an MSI can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsiDestination {
    /// 8 bits, 255 being broadcast.
    Bits8,
    /// 15 bits by `EXT_DEST_ID` (Xen and KVM CPUID leaves).
    Bits15,
    /// 32 bits by interrupt remapping.
    Remapped,
}

/// What the host has, and how it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Physical CPUs.
    pub cpus: u32,
    /// The highest APIC id among them; ids have holes, so it can be far above `cpus`.
    pub highest_apic_id: u32,
    /// The map of vectors in force.
    pub layout: VectorLayout,
    /// How external interrupts are addressed: with logical destinations a cluster has no more vectors than one CPU.
    pub model: DestinationModel,
    /// How many bits of APIC id the host's MSIs carry.
    pub destination: MsiDestination,
    /// Vectors taken already; with logical destinations a vector taken on a cluster counts once.
    pub vectors_taken: u32,
    /// IRQ numbers taken already, beyond the GSIs.
    pub irqs_taken: u32,
    /// Global system interrupts: the pins of all IO-APICs (Xen: `nr_irqs_gsi`).
    pub gsis: u32,
    /// `nr_irqs`: IRQ numbers of the host; Xen computes it if it is not set.
    pub nr_irqs: Option<u32>,
    /// `extra_guest_irqs`, first number: physical interrupts of a guest beyond the GSIs.
    pub extra_guest_irqs: u32,
    /// `extra_guest_irqs`, second number: those of dom0; Xen computes it if it is not set.
    pub extra_dom0_irqs: Option<u32>,
    /// `max_event_channels` of the guests' configuration; dom0 has no such limit.
    pub max_event_channels: u32,
}

impl HostLimits {
    /// `extra_guest_irqs`, where it is not set.
    pub const EXTRA_GUEST_IRQS: u32 = 32;
    /// `max_event_channels`, where it is not set (`xl.cfg`).
    pub const MAX_EVENT_CHANNELS: u32 = 1023;

    /// A host of `cpus` CPUs, numbered without holes, as Xen starts it without options.
    #[must_use]
    pub const fn with_defaults(cpus: u32, layout: VectorLayout, model: DestinationModel) -> Self {
        Self {
            cpus,
            highest_apic_id: cpus.saturating_sub(1),
            layout,
            model,
            destination: MsiDestination::Bits8,
            vectors_taken: 0,
            irqs_taken: 0,
            gsis: 24,
            nr_irqs: None,
            extra_guest_irqs: Self::EXTRA_GUEST_IRQS,
            extra_dom0_irqs: None,
            max_event_channels: Self::MAX_EVENT_CHANNELS,
        }
    }
}

impl EventAbi {
    /// Ports a domain can use; port 0 never is (`EVTCHN_2L_NR_CHANNELS`, `EVTCHN_FIFO_NR_CHANNELS`).
    #[must_use]
    pub const fn ports(self) -> u32 {
        match self {
            Self::TwoLevel32 => 1023,
            Self::TwoLevel64 => 4095,
            Self::Fifo => 131_071,
        }
    }
}

impl MsiDestination {
    /// The highest APIC id an MSI reaches; the one with all bits set is broadcast.
    #[must_use]
    pub const fn highest(self) -> u32 {
        match self {
            Self::Bits8 => 0xfe,
            Self::Bits15 => 0x7ffe,
            Self::Remapped => u32::MAX - 1,
        }
    }
}
