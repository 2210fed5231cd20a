//! What a machine is made of: CPUs, domains with their vCPUs, sources with their vectors.

use alloc::string::String;
use alloc::vec::Vec;

use guest_shim::EoiMode;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::shared_info::TWO_LEVEL_CHANNELS_64;
use hypervisor_lib::delivery::Engine;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;

use crate::Costs;
use crate::Span;

/// A machine and what runs on it.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// How many physical CPUs.
    pub cpus: u32,
    /// Whose order of virtual against physical interrupts holds.
    pub vendor: Vendor,
    /// How external interrupts are addressed.
    pub model: DestinationModel,
    /// Which vectors there are.
    pub layout: VectorLayout,
    /// How level-triggered interrupts are acknowledged.
    pub ioapic_ack: IoApicAck,
    /// How vectors are drawn when a source moves, where the model makes a move draw one.
    pub policy: vector_allocator::Policy,
    /// Who runs where and when.
    pub scheduler: Scheduler,
    /// What each step takes.
    pub costs: Costs,
    /// The domains, dom0 among them.
    pub domains: Vec<DomainConfig>,
    /// The interrupt sources.
    pub sources: Vec<SourceConfig>,
}

/// The processor's maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Virtual interrupts go before physical ones at the same instruction boundary (SDM vol. 3C, 30.2.2).
    Intel,
    /// Physical interrupts go first (APM vol. 2, 15.21.4).
    Amd,
}

/// The scheduler of vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Xen's default: a vCPU that wakes does not pre-empt one whose rate limit is not over, and does not even make its
    /// CPU look: it waits for that one's timer.
    Credit2 {
        /// `sched_ratelimit_us`, default 1000 µs.
        ratelimit: Span,
        /// The longest time for which the timer is set, 10 ms in Xen (`CSCHED2_MAX_TIMER`).
        slice: Span,
    },
    /// One vCPU to a pCPU, for good (`sched=null`).
    Null,
    /// Each vCPU stays on the pCPU it starts on; several share one by slices without a rate limit.
    Pinned {
        /// The longest a vCPU runs while another waits.
        slice: Span,
    },
}

/// A domain.
#[derive(Clone, Debug)]
pub struct DomainConfig {
    /// Its number.
    pub id: DomainId,
    /// Whose interrupts its interrupts are: [`Owner::Dom0`] or [`Owner::Guest`].
    pub owner: Owner,
    /// What a person calls it.
    pub name: String,
    /// How it is virtualized.
    pub kind: DomainKind,
    /// How its vCPUs' local APICs are served, if it has any: a paravirtual domain has none.
    pub engine: Engine,
    /// How it and the hypervisor share what is pending.
    pub event_abi: EventAbi,
    /// When the events end that software sends it. Those of physical interrupts end early.
    pub software_eoi: EoiMode,
    /// What its handlers of vectors leave for later, if they do.
    pub deferred: Option<DeferredWork>,
    /// Its vCPUs.
    pub vcpus: Vec<VcpuConfig>,
}

/// What a guest's handlers leave for later: after a handler, before its vCPU does anything else, with interrupts on and the task
/// priority raised, as Windows does at its dispatch level. Interrupts of the class and below are held back that long. What
/// several handlers leave is done one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeferredWork {
    /// The class of the task priority: CR8, 1 to 15.
    pub class: u8,
    /// How long a handler's takes.
    pub lasts: Span,
}

/// How a domain is virtualized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DomainKind {
    /// Paravirtual: upcalls, no exits in the VMX sense.
    Pv,
    /// Hardware-assisted (HVM and PVH).
    Hvm,
}

/// A domain's event-channel ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventAbi {
    /// Event words and 16 queues a vCPU, by priority.
    #[default]
    Fifo,
    /// Two bitmaps, of a 64-bit guest; no priorities.
    TwoLevel,
}

impl EventAbi {
    /// How many ports a domain can use.
    #[must_use]
    pub const fn ports(self) -> u32 {
        match self {
            Self::Fifo => FIFO_CHANNELS - 1,
            Self::TwoLevel => TWO_LEVEL_CHANNELS_64 - 1,
        }
    }
}

/// A virtual CPU.
#[derive(Clone, Debug)]
pub struct VcpuConfig {
    /// Where it may run.
    pub affinity: CpuSet,
    /// Where it starts.
    pub start: CpuId,
    /// What it does besides handling interrupts.
    pub load: VcpuLoad,
}

/// What a vCPU does besides handling interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VcpuLoad {
    /// Nothing: it blocks when no interrupt is left.
    Idle,
    /// It computes all the time it gets.
    Busy,
    /// It computes for a while, then sleeps for a while.
    Periodic {
        /// How long it computes.
        run: Span,
        /// How long it then sleeps, unless an interrupt wakes it.
        sleep: Span,
    },
}

/// Which vCPU of which domain handles a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VcpuRef {
    /// The domain.
    pub domain: DomainId,
    /// The vCPU's number in it.
    pub vcpu: u32,
}

/// An interrupt source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Its number: the IRQ number on Xen.
    pub id: SourceId,
    /// What a person calls it.
    pub label: String,
    /// Whose it is.
    pub owner: Owner,
    /// How it signals.
    pub kind: SourceKind,
    /// Its host vector; none if it is posted.
    pub vector: Option<Vector>,
    /// The CPU it is sent to at the start.
    pub target: CpuId,
    /// How it reaches its handler.
    pub path: Path,
}

/// How an interrupt reaches its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// The hypervisor handles it itself.
    Hypervisor {
        /// How long its handler takes, ns.
        handler: Span,
        /// Whether the handler runs with interrupts on, so that a higher class can nest on it.
        interruptible: bool,
    },
    /// It becomes an event on a port of this vCPU.
    EventChannel {
        /// Who handles it.
        to: VcpuRef,
        /// How long the guest's handler takes, to its EOI.
        handler: Span,
        /// Before and after which other events it is taken; the default where the domain's ABI has no priorities.
        priority: FifoPriority,
    },
    /// The host takes it and injects a guest vector.
    Remapped {
        /// Who handles it.
        to: VcpuRef,
        /// The vector in the guest's own numbering.
        guest_vector: Vector,
        /// How long the guest's handler takes, to its EOI.
        handler: Span,
    },
    /// Another vCPU of the domain sends it, when it runs next after each raise.
    Ipi {
        /// Who sends it.
        from: VcpuRef,
        /// Who handles it.
        to: VcpuRef,
        /// The vector in the guest's own numbering.
        guest_vector: Vector,
        /// How long the guest's handler takes, to its EOI.
        handler: Span,
    },
    /// The IOMMU posts a guest vector; the host only hears of it when the vCPU is not running.
    Posted {
        /// Who handles it.
        to: VcpuRef,
        /// The vector in the guest's own numbering.
        guest_vector: Vector,
        /// How long the guest's handler takes, to its EOI.
        handler: Span,
    },
}

impl Path {
    /// Which vCPU handles it; none if the hypervisor does.
    #[must_use]
    pub const fn handler(&self) -> Option<VcpuRef> {
        match self {
            Self::Hypervisor { .. } => None,
            Self::EventChannel { to, .. }
            | Self::Remapped { to, .. }
            | Self::Posted { to, .. }
            | Self::Ipi { to, .. } => Some(*to),
        }
    }

    /// The vector by which it comes to its vCPU's local APIC; none if it does not.
    #[must_use]
    pub const fn guest_vector(&self) -> Option<Vector> {
        match self {
            Self::Hypervisor { .. } | Self::EventChannel { .. } => None,
            Self::Remapped { guest_vector, .. }
            | Self::Posted { guest_vector, .. }
            | Self::Ipi { guest_vector, .. } => Some(*guest_vector),
        }
    }
}
