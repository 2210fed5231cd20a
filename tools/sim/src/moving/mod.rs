//! A vCPU's move between physical CPUs, carried out step by step on the models of hardware while interrupts come.
//!
//! ```text
//!  hypervisor-lib: Plan ──step──► words ──► descriptor, tables, remapping entries ──┐
//!                                                                                   ├─► Bed: local APICs, doorbells,
//!  Senders, at any moment ─► IOMMU, IPI virtualization, hypercalls ─► the same ─────┘    PIR, IRR, log, upcalls
//!                                                                                          └► what vCPU 0 takes, and where
//! ```
//!
//! The plan, its steps and what they write are the library's; who posts, rings, logs and notifies are `carillon-machine`'s
//! processors and IOMMUs. Here is only who stands between: a hypervisor of one guest with two vCPUs, of which one moves and the
//! other sends it interrupts, and a device whose interrupts go to the one that moves. A step may be made to [fail or be left
//! out](Fault), and then the [run](MoveRun) shows the way back, or which interrupt is lost.
//!
//! An interrupt counts as lost if the vCPU runs on, interrupts enabled, and nothing makes it take the interrupt. A vCPU that
//! exits for another reason may still find it.

mod avic;
mod bed;
mod effect;
mod events;
mod intel;
mod journey;
mod leased;
mod moment;
mod passage;
mod posted;
mod run;
mod wires;

pub use effect::Effect;
pub use effect::Sender;
pub use effect::Silence;
pub use journey::Fault;
pub use moment::Arrivals;
pub use moment::Moment;
pub use moment::Moments;
pub use passage::Delivered;
pub use passage::MoveRun;
pub use passage::Passage;
pub use passage::Sent;
pub use passage::Way;
pub use run::MoveFault;

use vector_allocator::CpuId;

/// CPUs have numbers below this: AVIC's tables name no others.
pub const MOST_CPUS: u32 = 4096;
/// The most interrupts of the device: its vectors stay below the IPI's.
pub const MOST_INTERRUPTS: u16 = 128;

/// The first IRQ of the device.
const FIRST_IRQ: u32 = 48;
/// Its bus, device and function: 03:00.0.
const DEVICE: u16 = 0x0300;

/// How a vCPU gets its interrupts, as far as a move is different for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MoveEngine {
    /// Devices post to its descriptor.
    Posted,
    /// AVIC: devices set bits in its page.
    Avic,
    /// The host takes its devices' interrupts and posts them by software.
    Remapped,
    /// The host takes them and makes them events.
    EventChannel,
}

/// A move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// How the vCPU gets its interrupts.
    pub engine: MoveEngine,
    /// The CPU it runs on.
    pub from: CpuId,
    /// The CPU it moves to.
    pub to: CpuId,
    /// How many interrupts the device has.
    pub interrupts: u16,
}

impl MoveEngine {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Posted, Self::Avic, Self::Remapped, Self::EventChannel];

    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::Avic => "avic",
            Self::Remapped => "remapped",
            Self::EventChannel => "event-channel",
        }
    }

    /// As a heading says it.
    #[must_use]
    pub const fn long_name(self) -> &'static str {
        match self {
            Self::Posted => "posted interrupts, from devices too",
            Self::Avic => "AVIC",
            Self::Remapped => "posted interrupts, remapped devices",
            Self::EventChannel => "event channels",
        }
    }
}

impl Move {
    /// The interrupts of the device, by the host's number.
    pub(crate) fn irqs(&self) -> impl Iterator<Item = u32> + use<> {
        (FIRST_IRQ..).take(usize::from(self.interrupts))
    }

    /// Everyone who sends.
    #[must_use]
    pub fn senders(&self) -> Vec<Sender> {
        self.irqs().map(Sender::Device).chain([Sender::Vcpu]).collect()
    }
}
