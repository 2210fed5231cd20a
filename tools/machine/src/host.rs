//! The machine's only way out: timers it wants back, and facts about what happened.

use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::Span;
use crate::Time;
use crate::VcpuRef;

/// A source's index in [`MachineConfig::sources`](crate::MachineConfig).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceIndex(pub u32);

/// What drives a machine.
pub trait Host {
    /// Gives `timer` back to [`Machine::expire`](crate::Machine::expire) at `at`, never earlier; timers of the same time
    /// come back in the order they were set.
    fn schedule(&mut self, at: Time, timer: crate::Timer);

    /// Hears what happened at `at`. Facts come in order of time.
    fn observe(&mut self, at: Time, fact: Fact);
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A device raised its interrupt.
    Raised {
        /// Which.
        source: SourceIndex,
    },
    /// It was raised while it already waited: the two are one.
    Coalesced {
        /// Which.
        source: SourceIndex,
    },
    /// A CPU acknowledged it and goes to the host's handler.
    Dispatched {
        /// Which.
        source: SourceIndex,
        /// Where.
        cpu: CpuId,
        /// Under which host vector.
        vector: Vector,
        /// From the acknowledge cycle to the handler's first instruction: the exit, the trap or the wake.
        entry: Span,
    },
    /// The host's handler returned.
    HostHandlerDone {
        /// Which.
        source: SourceIndex,
        /// Where.
        cpu: CpuId,
    },
    /// The handler of the domain that owns it began to run.
    HandlerEntered {
        /// Which.
        source: SourceIndex,
        /// Who handles it.
        vcpu: VcpuRef,
        /// Where that vCPU runs.
        cpu: CpuId,
    },
    /// Its owner is done with it. A device in a closed loop may raise the next one now.
    Completed {
        /// Which.
        source: SourceIndex,
    },
    /// Its guest takes it for part of a storm: it keeps the port masked, and ends the event then.
    EoiDelayed {
        /// Which.
        source: SourceIndex,
        /// When.
        until: Time,
    },
    /// A guest's source keeps the in-service bit after the host's handler has returned.
    RetentionBegan {
        /// Which.
        source: SourceIndex,
        /// Where.
        cpu: CpuId,
    },
    /// The in-service bit was cleared.
    RetentionEnded {
        /// Which.
        source: SourceIndex,
        /// Where.
        cpu: CpuId,
        /// By whom.
        by: RetentionEnd,
    },
    /// An interrupt of dom0 waits at a CPU because of a guest's.
    Blocked {
        /// Dom0's interrupt.
        victim: SourceIndex,
        /// The guest's interrupt or vCPU that keeps it waiting.
        by: SourceIndex,
        /// Where.
        cpu: CpuId,
        /// How.
        cause: BlockCause,
    },
    /// It no longer waits for that reason.
    Unblocked {
        /// Dom0's interrupt.
        victim: SourceIndex,
        /// What had kept it waiting.
        by: SourceIndex,
        /// Where.
        cpu: CpuId,
        /// How.
        cause: BlockCause,
    },
    /// A dom0 vCPU with work waits for a CPU that a guest's vCPU keeps: the scheduler's doing, not a vector's.
    VcpuWaits {
        /// Who waits.
        vcpu: VcpuRef,
        /// Whom the CPU runs.
        behind: VcpuRef,
        /// Where.
        cpu: CpuId,
    },
    /// A CPU began to run a vCPU.
    VcpuRuns {
        /// Which.
        vcpu: VcpuRef,
        /// Where.
        cpu: CpuId,
    },
    /// A CPU stopped running a vCPU.
    VcpuStops {
        /// Which.
        vcpu: VcpuRef,
        /// Where.
        cpu: CpuId,
    },
    /// A running vCPU lost the CPU to the host for a moment.
    Exit {
        /// Which.
        vcpu: VcpuRef,
        /// Where.
        cpu: CpuId,
        /// Why.
        cause: ExitCause,
    },
    /// A source fired too often (Xen: `irq_ratelimit`): this interrupt is turned away and the source disabled, for 10 ms at
    /// most. An edge that is turned away is lost; a line that is still asserted then interrupts again.
    Throttled {
        /// Which.
        source: SourceIndex,
    },
    /// A source moved to another CPU, and perhaps another vector.
    Moved {
        /// Which.
        source: SourceIndex,
        /// Where to.
        cpu: CpuId,
        /// The vector it holds there.
        vector: Vector,
    },
    /// A source's move failed: no vector was to be had at the new CPU.
    MoveFailed {
        /// Which.
        source: SourceIndex,
        /// Where to.
        cpu: CpuId,
    },
}

/// How a guest's interrupt keeps one of dom0's waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockCause {
    /// It was served first: both waited, and its vector is higher.
    ServedFirst,
    /// Its host handler was already running with interrupts off.
    HandlerRunning,
    /// It keeps the in-service bit of a class at least as high.
    InService,
}

/// Who ended a retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionEnd {
    /// The guest, by its EOI.
    Guest,
    /// The host, after its time limit: 1 ms from its own handler's end, and until those above it on the CPU have gone.
    Forced,
}

/// Why a running vCPU lost its CPU to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExitCause {
    /// A host interrupt arrived (SDM exit reason 1; a trap into the hypervisor for a paravirtual guest).
    ExternalInterrupt,
    /// The guest's EOI had to be seen (SDM exit reason 45, or an EOI hypercall).
    Eoi,
    /// The vCPU can take an interrupt at last (SDM exit reason 7).
    InterruptWindow,
    /// The vCPU had nothing left to do (SDM exit reason 12, or a block hypercall).
    Halt,
    /// Another CPU asked for a look (event-check IPI).
    Kick,
    /// Its time was over.
    Preempted,
    /// The guest touched a register of its local APIC, and the hypervisor emulates that (SDM exit reason 32 or 44).
    ApicAccess,
    /// The guest wrote a register of its local APIC, and what follows is the hypervisor's (SDM exit reason 56).
    ApicWrite,
    /// A command's target does not run (AVIC, exit 401h).
    IncompleteIpi,
    /// The end of a level-triggered interrupt, or another access that AVIC leaves to the hypervisor (exit 402h).
    NoAcceleration,
}
