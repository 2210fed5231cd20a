//! What a trace record says: its event number and words, decoded (`xen/include/public/trace.h` for the numbers).

use hypervisor_abi::trace;
use vector_allocator::DomainId;

use carillon_machine::VcpuRef;

use super::Extra;
use super::hvm_event::HvmEvent;
use super::sched_event::SchedEvent;

/// A decoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// The records that follow come from this CPU.
    CpuChange {
        /// The CPU.
        cpu: u32,
        /// How many bytes its records take.
        window_bytes: u32,
    },
    /// Records were dropped because a buffer was full.
    LostRecords {
        /// How many.
        count: u32,
        /// Who ran when this was noticed.
        vcpu: VcpuRef,
        /// The time stamp of the first.
        first_tsc: u64,
    },
    /// Padding.
    WrapBuffer,
    /// Something of the scheduler's.
    Sched(SchedEvent),
    /// Something of a hardware-assisted guest's.
    Hvm(HvmEvent),
    /// Something of interrupts.
    Irq(IrqEvent),
    /// Something of power management.
    Power(PowerEvent),
    /// One this version does not know, or one with too few words for what it is.
    Unknown {
        /// Its number.
        event: u32,
        /// Its words.
        extra: Extra,
    },
}

/// What happened to a hardware interrupt (`TRC_HW_IRQ_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqEvent {
    /// The old vector of a moved IRQ could not be freed yet.
    MoveCleanupDelay {
        /// The IRQ.
        irq: u32,
        /// Its old vector.
        vector: u32,
        /// Where.
        cpu: u32,
    },
    /// The old vector of a moved IRQ was freed.
    MoveCleanup {
        /// The IRQ.
        irq: u32,
        /// Its old vector.
        vector: u32,
        /// Where.
        cpu: u32,
    },
    /// An IRQ was bound to a vector for good.
    BindVector(VectorChange),
    /// An IRQ lost its vector.
    ClearVector(VectorChange),
    /// A move was ended because its IRQ lost its vector.
    MoveFinish(VectorChange),
    /// An IRQ was given a vector.
    AssignVector(VectorChange),
    /// An interrupt came under a vector nobody holds.
    UnmappedVector {
        /// The vector.
        vector: u32,
    },
    /// An interrupt was handled. The times are the low words of the time stamps.
    Handled {
        /// The IRQ.
        irq: u32,
        /// When its handler began.
        tsc_in: u32,
        /// When its handler ended.
        tsc_out: u32,
    },
}

/// An IRQ's vector on some CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorChange {
    /// The IRQ.
    pub irq: u16,
    /// The vector.
    pub vector: u16,
    /// The first 64 CPUs of the mask.
    pub cpus: u64,
}

/// What happened to a CPU's power state (`TRC_PM_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// Its frequency changed; MHz.
    FrequencyChange {
        /// From.
        from: u32,
        /// To.
        to: u32,
    },
    /// It went idle.
    IdleEntry {
        /// The C-state.
        state: u32,
    },
    /// It came back.
    IdleExit {
        /// The C-state.
        state: u32,
    },
}

impl TraceEvent {
    /// Decodes a record; one that is not known, or has fewer words than it must, is kept as it is.
    #[must_use]
    pub fn decode(event: u32, extra: Extra) -> Self {
        Self::known(event, &extra).unwrap_or(Self::Unknown { event, extra })
    }

    fn known(event: u32, extra: &Extra) -> Option<Self> {
        let word = |index| extra.word(index);
        Some(match event {
            trace::CPU_CHANGE => Self::CpuChange { cpu: word(0)?, window_bytes: word(1)? },
            trace::LOST_RECORDS => Self::LostRecords {
                count: word(0)?,
                // The domain is in the low half, the vCPU in the high one.
                vcpu: VcpuRef { domain: DomainId(low_half(word(1)?)), vcpu: u32::from(high_half(word(1)?)) },
                first_tsc: wide(word(2)?, word(3)?),
            },
            trace::WRAP_BUFFER => Self::WrapBuffer,
            trace::PM_FREQ_CHANGE => Self::Power(PowerEvent::FrequencyChange { from: word(0)?, to: word(1)? }),
            trace::PM_IDLE_ENTRY => Self::Power(PowerEvent::IdleEntry { state: word(0)? }),
            trace::PM_IDLE_EXIT => Self::Power(PowerEvent::IdleExit { state: word(0)? }),
            event if event & trace::SUBCLASS_MASK == trace::HW_IRQ_HANDLED & trace::SUBCLASS_MASK => {
                Self::Irq(IrqEvent::decode(event, extra)?)
            }
            event => match SchedEvent::decode(event, extra) {
                Some(sched) => Self::Sched(sched),
                None => Self::Hvm(HvmEvent::decode(event, extra)?),
            },
        })
    }
}

impl IrqEvent {
    fn decode(event: u32, extra: &Extra) -> Option<Self> {
        let word = |index| extra.word(index);
        Some(match event {
            trace::HW_IRQ_MOVE_CLEANUP_DELAY => {
                Self::MoveCleanupDelay { irq: word(0)?, vector: word(1)?, cpu: word(2)? }
            }
            trace::HW_IRQ_MOVE_CLEANUP => Self::MoveCleanup { irq: word(0)?, vector: word(1)?, cpu: word(2)? },
            trace::HW_IRQ_BIND_VECTOR => Self::BindVector(VectorChange::decode(extra)?),
            trace::HW_IRQ_CLEAR_VECTOR => Self::ClearVector(VectorChange::decode(extra)?),
            trace::HW_IRQ_MOVE_FINISH => Self::MoveFinish(VectorChange::decode(extra)?),
            trace::HW_IRQ_ASSIGN_VECTOR => Self::AssignVector(VectorChange::decode(extra)?),
            trace::HW_IRQ_UNMAPPED_VECTOR => Self::UnmappedVector { vector: word(0)? },
            trace::HW_IRQ_HANDLED => Self::Handled { irq: word(0)?, tsc_in: word(1)?, tsc_out: word(2)? },
            _ => return None,
        })
    }
}

impl VectorChange {
    fn decode(extra: &Extra) -> Option<Self> {
        let first = extra.word(0)?;
        let cpus = wide(extra.word(1)?, extra.word(2).unwrap_or_default());
        Some(Self { irq: low_half(first), vector: high_half(first), cpus })
    }
}

pub(super) const fn wide(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

#[expect(clippy::cast_possible_truncation, reason = "the half is what is wanted")]
pub(super) const fn low_half(word: u32) -> u16 {
    word as u16
}

pub(super) const fn high_half(word: u32) -> u16 {
    low_half(word >> 16)
}
