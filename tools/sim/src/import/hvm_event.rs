//! Trace records of hardware-assisted guests (`TRC_HVM_*`; words as `HVMTRACE_ND` writes them).

use hypervisor_abi::trace;

use super::Extra;
use super::trace_event::wide;

/// What happened to a hardware-assisted guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HvmEvent {
    /// The vCPU entered its guest.
    Entry(Level),
    /// The vCPU left its guest.
    Exit {
        /// Which guest.
        level: Level,
        /// Why (SDM vol. 3D, appendix C; APM vol. 2, appendix C).
        reason: u32,
        /// Where the guest was.
        rip: u64,
    },
    /// An exception was injected.
    InjectException {
        /// Its vector.
        vector: u32,
        /// Its error code.
        error_code: u32,
    },
    /// An interrupt was injected.
    InjectInterrupt {
        /// Its vector, in the guest's numbering.
        vector: u32,
    },
    /// An interrupt whose delivery an exit had broken off was injected again.
    ReinjectInterrupt {
        /// Its vector, in the guest's numbering.
        vector: u32,
    },
    /// A host interrupt made the guest exit.
    HostInterrupt {
        /// The host vector.
        vector: u32,
    },
    /// A non-maskable interrupt made the guest exit.
    NonMaskable,
    /// The guest halted.
    Halt {
        /// Whether an interrupt was pending already.
        was_pending: bool,
    },
    /// Xen asked for an exit as soon as the guest can take an interrupt.
    InterruptWindow {
        /// The vector that waits.
        vector: u32,
    },
    /// The guest's local APIC was accessed through an exit.
    LocalApic,
    /// Another event of a handler or an emulated device, by its number.
    Other {
        /// The number.
        event: u32,
        /// Its words.
        extra: Extra,
    },
}

/// Whose guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Xen's.
    Guest,
    /// A guest's.
    Nested,
}

/// The bits that name the class of all HVM events (`TRC_HVM`).
const CLASS_MASK: u32 = 0xffff_0000;
const CLASS: u32 = trace::HVM_HANDLER & CLASS_MASK;

impl HvmEvent {
    pub(super) fn decode(event: u32, extra: &Extra) -> Option<Self> {
        if event & CLASS_MASK != CLASS {
            return None;
        }
        Some(Self::known(event, extra).unwrap_or(Self::Other { event, extra: *extra }))
    }

    fn known(event: u32, extra: &Extra) -> Option<Self> {
        let word = |index| extra.word(index);
        if event & trace::SUBCLASS_MASK == trace::HVM_ENTRYEXIT {
            let level = if event & trace::HVM_NESTED_FLAG == 0 { Level::Guest } else { Level::Nested };
            let is_wide = event & trace::FLAG_64 != 0;
            return match event & !(trace::HVM_NESTED_FLAG | trace::FLAG_64) {
                trace::HVM_VMENTRY => Some(Self::Entry(level)),
                trace::HVM_VMEXIT => {
                    let rip = if is_wide { wide(word(1)?, word(2)?) } else { u64::from(word(1)?) };
                    Some(Self::Exit { level, reason: word(0)?, rip })
                }
                _ => None,
            };
        }
        Some(match event {
            trace::HVM_INJ_EXC => Self::InjectException { vector: word(0)?, error_code: word(1).unwrap_or_default() },
            trace::HVM_INJ_VIRQ => Self::InjectInterrupt { vector: word(0)? },
            trace::HVM_REINJ_VIRQ => Self::ReinjectInterrupt { vector: word(0)? },
            trace::HVM_INTR => Self::HostInterrupt { vector: word(0)? },
            trace::HVM_NMI => Self::NonMaskable,
            trace::HVM_HLT => Self::Halt { was_pending: word(0)? != 0 },
            trace::HVM_INTR_WINDOW => Self::InterruptWindow { vector: word(0)? },
            trace::HVM_VLAPIC => Self::LocalApic,
            _ => return None,
        })
    }
}
