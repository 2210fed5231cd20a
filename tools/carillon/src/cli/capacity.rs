//! The words of the question whether devices fit.

use clap::Args;
use clap::ValueEnum;

use super::HostArgs;
use super::OutputArgs;
use super::at_least_one;

/// What must fit.
#[derive(Args, Debug)]
pub(crate) struct CapacityArgs {
    /// Devices each domain gets
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub(crate) devices: u32,
    /// Queues per device, each with an interrupt of its own
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub(crate) queues: u32,
    /// Interrupts per device besides those of its queues: link state, administration
    #[arg(long, default_value_t = 1)]
    pub(crate) control_interrupts: u32,
    /// Guests that get devices; 0: dom0 gets them
    #[arg(long, default_value_t = 1)]
    pub(crate) guests: u32,
    /// vCPUs of each domain
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub(crate) vcpus: u32,
    /// How the devices signal
    #[arg(long, value_enum, default_value_t = SignalName::MsiX)]
    pub(crate) signal: SignalName,
    /// How physical interrupts reach the domain
    #[arg(long, value_enum, default_value_t = ArrivalName::Fifo)]
    pub(crate) arrival: ArrivalName,
    /// Event channels each domain has already [default: 6 per vCPU (7 with two-level) and 2, as a Linux guest has for
    /// its timer, its IPIs, xenstore and console; its virtual devices come on top]
    #[arg(long)]
    pub(crate) events_taken: Option<u32>,
    /// Whether the domain's kernel manages the queues' affinity, which reserves a vector on every vCPU
    #[arg(long)]
    pub(crate) managed: bool,
    /// Physical CPUs of the host
    #[arg(long, default_value_t = 4, value_parser = at_least_one(), conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) pcpus: u32,
    /// The host's map of vectors
    #[arg(long, value_enum, default_value_t = LayoutName::Xen, conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) layout: LayoutName,
    /// How external interrupts are addressed
    #[arg(long, value_enum, default_value_t = Destination::Physical, conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) destination: Destination,
    /// Vectors that are taken already
    #[arg(long, default_value_t = 0, conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) taken: u32,
    /// Bits of APIC id an MSI of the host carries; `remapped` with interrupt remapping
    #[arg(long, value_enum, default_value_t = MsiBits::Bits8)]
    pub(crate) msi_destination: MsiBits,
    /// Xen's `extra_guest_irqs`: physical interrupts of a guest beyond the GSIs
    #[arg(long, default_value_t = vector_allocator::HostLimits::EXTRA_GUEST_IRQS)]
    pub(crate) extra_guest_irqs: u32,
    /// The guests' `max_event_channels`
    #[arg(long, default_value_t = vector_allocator::HostLimits::MAX_EVENT_CHANNELS)]
    pub(crate) max_event_channels: u32,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How a device signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignalName {
    /// MSI
    Msi,
    /// MSI-X
    MsiX,
}

/// How physical interrupts reach a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArrivalName {
    /// Event channels, FIFO: 131071 ports
    Fifo,
    /// Event channels, two-level, 64-bit: 4095 ports
    TwoLevel,
    /// Event channels, two-level, 32-bit: 1023 ports
    TwoLevel32,
    /// Native MSI to the domain's own local APICs
    LocalApic,
}

/// Bits of APIC id an MSI carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MsiBits {
    /// 8: APIC ids up to 254
    #[value(name = "8")]
    Bits8,
    /// 15, by the extended destination id
    #[value(name = "15")]
    Bits15,
    /// 32, by interrupt remapping
    Remapped,
}

/// A map of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// Xen's
    Xen,
    /// Linux's
    Linux,
}

/// How external interrupts are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Destination {
    /// One CPU each, one vector
    Physical,
    /// One vector on all of up to 8 CPUs
    Flat,
    /// One vector on all CPUs of a cluster of 16
    Cluster,
}
