//! A physical CPU: its local APIC, the host work stacked on it, and the vCPU beneath.
//!
//! ```text
//!   handler of a higher class      ▲ only onto a frame whose gate is open
//!   Xen's own handler (open)       │
//!   ───────────────────────────────┴─ frames
//!   softirqs, then the scheduler
//!   guest mode of the current vCPU, or idle
//! ```

use alloc::vec::Vec;

use vector_allocator::Vector;
use vector_allocator::VectorSet;

use crate::BlockCause;
use crate::ExitCause;
use crate::SourceIndex;
use crate::Span;
use crate::Time;
use crate::lapic::Lapic;
use crate::lapic::XEN_TPR;
use crate::source::SourceQueue;
use crate::vcpu::VcpuIndex;

/// A physical CPU.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    pub(crate) lapic: Lapic,
    pub(crate) frames: Vec<Frame>,
    pub(crate) mode: Mode,
    pub(crate) current: Option<VcpuIndex>,
    pub(crate) clock: Clock,
    /// Counts what it has begun, so that the timer of something interrupted is known as stale.
    pub(crate) generation: u32,
    /// Delayed EOIs, in the order of the in-service bits: the top of the stack is the highest (Xen: `pending_eoi`).
    pub(crate) pending_eoi: Vec<u32>,
    /// Remapped interrupts whose softirq has not run (Xen: `dpci_list`).
    pub(crate) assists: SourceQueue,
    /// For how long it has worked for the hypervisor.
    pub(crate) host_time: Span,
    /// The scheduler shall look again.
    pub(crate) must_reschedule: bool,
    /// Since when the current vCPU has the CPU.
    pub(crate) running_since: Time,
    /// When the scheduler looks again by itself.
    pub(crate) slice_ends: Option<Time>,
    pub(crate) slice_generation: u32,
    /// Vectors of dom0 on this CPU.
    pub(crate) dom0: VectorSet,
    /// Interrupts of dom0 that wait because of a guest.
    pub(crate) blocks: Vec<Block>,
    /// The guest's source that sent the last notification here.
    pub(crate) notified_by: Option<SourceIndex>,
    pub(crate) is_online: bool,
}

/// What the processor does when no frame is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is on the host's way to something else.
    Host,
    /// It executes guest instructions.
    Guest,
    /// It sleeps until an interrupt.
    Idle,
}

/// Whether the top of what a CPU does progresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Stopped,
    Running(Time),
}

/// Host work on a CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) work: Work,
    pub(crate) left: Span,
    pub(crate) gate: Gate,
    /// The guest's source on whose behalf it runs.
    pub(crate) culprit: Option<SourceIndex>,
    /// What waited when it began.
    pub(crate) waited: VectorSet,
}

/// Whether a frame takes interrupts (the host's RFLAGS.IF).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Closed,
}

/// What a frame does, and so what happens at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The handler of an interrupt that domains handle.
    GuestBound { irq: u32 },
    /// The handler of one of the hypervisor's own.
    Internal { irq: u32 },
    /// Acknowledging an interrupt that needs nothing more: an event check, a throttled or spurious one.
    Acknowledge,
    /// Posted-interrupt processing by the processor: no exit.
    Processing,
    /// The handler of the wake-up vector.
    WakeUp,
    /// The softirq of a remapped interrupt.
    Assist { source: SourceIndex },
    /// A domain's EOI.
    GuestEoi { source: SourceIndex },
    /// What a guest's EOI leaves to the hypervisor.
    Emulate,
    /// The processor sends a guest's interrupt to another vCPU: no exit.
    Sending,
    /// The host does so, after an exit for this.
    Command { source: SourceIndex, cause: ExitCause },
    /// A vCPU blocks.
    Block,
    /// A vCPU can take an event at last.
    Window,
    /// The switch to a vCPU.
    Switch { to: VcpuIndex },
}

impl Work {
    /// Whether the processor does it by itself, in guest mode.
    pub(crate) const fn is_guests(self) -> bool {
        matches!(self, Self::Processing | Self::Sending)
    }
}

/// An interrupt of dom0 that waits because of a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) vector: Vector,
    pub(crate) victim: SourceIndex,
    pub(crate) by: SourceIndex,
    pub(crate) cause: BlockCause,
}

impl Cpu {
    pub(crate) const fn new() -> Self {
        Self {
            lapic: Lapic::new(XEN_TPR),
            frames: Vec::new(),
            mode: Mode::Idle,
            current: None,
            clock: Clock::Stopped,
            generation: 0,
            pending_eoi: Vec::new(),
            assists: SourceQueue::EMPTY,
            host_time: Span(0),
            must_reschedule: false,
            running_since: Time(0),
            slice_ends: None,
            slice_generation: 0,
            dom0: VectorSet::EMPTY,
            blocks: Vec::new(),
            notified_by: None,
            is_online: true,
        }
    }
}
