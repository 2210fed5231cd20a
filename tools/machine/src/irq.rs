//! A physical interrupt (Xen: `irq_desc`): its vector, where it goes, and how far its service has come.

use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::avic::IrteIndex;
use vector_allocator::AckType;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::RetentionEnd;
use crate::SourceIndex;
use crate::apic::Apics;
use crate::apic::Meaning;
use crate::storm::StormGuard;
use crate::trigger::Signal;
use crate::trigger::Trigger;

/// A physical interrupt and its state.
#[derive(Clone, Debug)]
pub(crate) struct Irq {
    pub(crate) vector: Vector,
    /// Where its messages go.
    pub(crate) cpu: CpuId,
    /// The entry of the IOMMU that its messages go by, if there is one.
    pub(crate) message: Option<IrteIndex>,
    pub(crate) ack: AckType,
    pub(crate) trigger: Trigger,
    pub(crate) masks: Masks,
    /// The first of the sources that share it.
    pub(crate) first: SourceIndex,
    /// Whose it is when one waits for another.
    pub(crate) side: Side,
    /// How many of its sources' domains owe an EOI.
    pub(crate) in_flight: u32,
    pub(crate) service: Service,
    /// Counts services, so that a timer of an earlier one is known as stale.
    pub(crate) generation: u32,
    pub(crate) storm: StormGuard,
    /// The CPU of its vCPU when it last followed it.
    pub(crate) followed: CpuId,
    /// Where it was before a move that is not drained yet.
    pub(crate) old: Option<OldSlot>,
}

/// Whose an interrupt is when one waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The hypervisor's: neither.
    System,
    /// Dom0's: it can be the one that waits.
    Victim,
    /// A guest's, or shared with a guest, whose source this is: it can be the one waited for.
    Culprit(SourceIndex),
}

/// Whether a local APIC still has it in service after the handler's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// No.
    Idle,
    /// In service on this CPU while the host's handler runs.
    Held(CpuId),
    /// In service on this CPU although the host's handler has returned.
    Retained(CpuId),
    /// Its EOI may be sent once those above it on the CPU's stack have been.
    Ready(CpuId, RetentionEnd),
}

/// A vector it held before a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OldSlot {
    pub(crate) cpu: CpuId,
    pub(crate) vector: Vector,
}

/// Why a source may not send: each reason is lifted on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks(u8);

/// A reason to mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaskReason {
    /// The storm guard.
    Throttled = 1,
    /// Its domain has not finished ([`AckType::Unmask`]).
    Unfinished = 2,
    /// No online CPU has a vector for it.
    Stranded = 4,
}

impl Irq {
    /// Stops it from sending for `reason`.
    pub(crate) const fn mask(&mut self, reason: MaskReason) {
        self.masks.0 |= reason as u8;
        self.trigger.mask();
    }

    /// Lifts `reason`; what it does if that was the last one.
    pub(crate) const fn unmask(&mut self, reason: MaskReason) -> Signal {
        let was = self.masks.0;
        self.masks.0 &= !(reason as u8);
        if was == 0 || self.masks.0 != 0 {
            return Signal::Quiet;
        }
        match &mut self.trigger {
            Trigger::Edge(msi) => msi.unmask(),
            Trigger::Level(pin) => {
                pin.unmask();
                pin.send_if_ready()
            }
        }
    }

    /// Whether its source can be kept from sending: all can but an MSI without a mask bit, whose EOI is delayed for that.
    pub(crate) fn is_maskable(&self) -> bool {
        !(self.is_edge() && self.ack == AckType::Eoi)
    }

    /// Has the IOMMU's entry, if there is one, say where it goes.
    pub(crate) fn write_entry(&self, apics: &Apics) {
        let trigger = if self.is_edge() { TriggerMode::Edge } else { TriggerMode::Level };
        if let Some(message) = self.message {
            apics.program(message, Meaning::Host { vector: self.vector, cpu: self.cpu, trigger });
        }
    }

    /// Whether its sources are edges, so that each raise is an interrupt of its own.
    pub(crate) const fn is_edge(&self) -> bool {
        matches!(self.trigger, Trigger::Edge(_))
    }
}
