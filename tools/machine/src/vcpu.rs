//! A virtual CPU: where it is, what waits for it, what it does.

use alloc::vec::Vec;

use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::Vector;

use crate::DeferredWork;
use crate::DomainKind;
use crate::SourceIndex;
use crate::Span;
use crate::VcpuLoad;
use crate::VcpuRef;
use crate::apic::ApicSlot;
use crate::apic::Ledger;
use crate::events::EventVcpu;
use crate::events::Events;
use crate::source::SourceQueue;

/// A vCPU's index in the machine's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VcpuIndex(pub(crate) u32);

impl VcpuIndex {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A virtual CPU.
#[derive(Clone, Debug)]
pub(crate) struct Vcpu {
    pub(crate) name: VcpuRef,
    pub(crate) kind: DomainKind,
    pub(crate) side: VcpuSide,
    pub(crate) residency: Residency,
    /// Where it runs, or ran last.
    pub(crate) cpu: CpuId,
    /// The CPU it waits for while it is runnable.
    pub(crate) behind: CpuId,
    /// Whether its present wait has been reported.
    pub(crate) wait_is_told: bool,
    pub(crate) affinity: CpuSet,
    /// Processor time used, as far as it counts for fairness.
    pub(crate) burned: Span,
    pub(crate) activity: Activity,
    /// What is left of the activity.
    pub(crate) left: Span,
    pub(crate) load: VcpuLoad,
    /// What is left of the load's present run.
    pub(crate) load_left: Span,
    /// What its handlers leave for later.
    pub(crate) deferred: Option<DeferredWork>,
    /// What is left of that.
    pub(crate) deferred_left: Span,
    pub(crate) task_priority: TaskPriority,
    /// Its event channels, if it has any.
    pub(crate) events: Option<EventVcpu>,
    /// It is in its upcall: interrupts are off until it has taken all its events.
    pub(crate) is_in_upcall: bool,
    /// Its local APIC, if it has one.
    pub(crate) apic: Option<ApicSlot>,
    /// What waits for that.
    pub(crate) ledger: Ledger,
    /// The interrupts its software wants to send to other vCPUs.
    pub(crate) commands: SourceQueue,
    /// Which source each guest vector is, ascending.
    pub(crate) vectors: Vec<(Vector, SourceIndex)>,
}

/// What the guest has set its task priority to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskPriority {
    /// 0: nothing is held back.
    Low,
    /// For what its handlers have left for later.
    Raised,
}

/// Whose a vCPU is when one waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VcpuSide {
    Dom0,
    Guest,
}

/// Where a vCPU is (semantics of Xen's posted-interrupt states: NDST and SN follow from it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residency {
    /// It has its CPU, in guest or host mode. Notifications go there.
    Running,
    /// It could run and waits. Notifications are suppressed (SN).
    Runnable,
    /// It waits for an interrupt. Notifications go to the wake-up vector of the CPU it ran on last.
    Blocked,
}

/// What a vCPU's interrupt side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// No interrupt is handled: the load runs, if there is any.
    Load,
    /// On the way to the handler of this source.
    Entry(SourceIndex),
    /// In the handler of this source.
    Handler(SourceIndex),
    /// On the way back from a handler whose EOI the host has seen: interrupts are still off.
    Return,
}

impl Vcpu {
    /// Whether it has anything to do, its local APIC apart.
    pub(crate) fn has_work(&self, events: &Events) -> bool {
        self.activity != Activity::Load
            || self.has_events(events)
            || !self.commands.is_empty()
            || self.has_load()
            || self.is_raised()
    }

    /// Whether it does, or is about to do, what its handlers have left for later.
    pub(crate) fn is_raised(&self) -> bool {
        self.task_priority == TaskPriority::Raised
    }

    /// Whether its load has anything to do.
    pub(crate) fn has_load(&self) -> bool {
        self.load == VcpuLoad::Busy || self.load_left.0 > 0
    }

    /// Whether an interrupt waits for it or is being handled.
    pub(crate) fn has_interrupts(&self, events: &Events) -> bool {
        self.activity != Activity::Load || self.has_events(events) || !self.ledger.is_empty()
    }

    /// Whether it is called for events, or still takes them.
    pub(crate) fn has_events(&self, events: &Events) -> bool {
        self.is_in_upcall || self.events.is_some_and(|own| events.is_due(own))
    }

    /// The source behind one of its vectors.
    pub(crate) fn source_of(&self, vector: Vector) -> Option<SourceIndex> {
        let at = self.vectors.binary_search_by_key(&vector.number(), |(vector, _)| vector.number()).ok()?;
        Some(self.vectors[at].1)
    }
}
