//! Records of Xen's trace buffers (`xen/include/public/trace.h`).
//!
//! A record is one header word, two words of time stamp if the header says so, and up to seven words of its own. Numbers
//! of events keep the header's order; their names leave out its `TRC_`.

use bitfield_struct::bitfield;

/// The first word of a record (`struct t_rec`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TraceHeader {
    /// What happened.
    #[bits(28)]
    pub event: u32,
    /// How many words of its own follow the time stamp, 0–7.
    #[bits(3)]
    pub extra_words: u8,
    /// Whether a 64-bit time stamp follows, in cycles of the time-stamp counter.
    pub has_cycles: bool,
}

/// The beginning of a CPU's trace buffer (`struct t_buf`); the records follow, in a ring of *n* bytes.
///
/// Both offsets run from 0 to 2 *n*, so that a full ring and an empty one differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct TraceBuffer {
    /// Where the next record is read; written by who reads.
    pub cons: u32,
    /// Where the next record is written; written by Xen.
    pub prod: u32,
}

/// The events of physical interrupts: vectors given and taken, and every interrupt handled (`TRC_HW_IRQ`).
pub const HW_IRQ_CLASS: u32 = 0x0080_2000;
/// What `xentrace -e 0x008af000` keeps, and the simulator plays back: scheduler, HVM and hardware events.
pub const RECORDED_EVENTS: u32 = 0x008a_f000;

/// The most words of its own a record can have (`TRACE_EXTRA_MAX`).
pub const EXTRA_WORDS_MAX: usize = 7;

/// Records were dropped because a buffer was full: count, domain and vCPU, time stamp of the first.
pub const LOST_RECORDS: u32 = 0x0001_f001;
/// Padding where a buffer wraps around.
pub const WRAP_BUFFER: u32 = 0x0001_f002;
/// The records that follow come from this CPU, and are this many bytes (written by `xentrace`, not by Xen).
pub const CPU_CHANGE: u32 = 0x0001_f003;

/// Bits that tell one run-state change from another: old state in 11:8, new state in 7:4, and 1.
pub const SCHED_RUNSTATE_MASK: u32 = 0xffff_f00f;
/// A vCPU's run state changed (`TRC_SCHED_RUNSTATE_CHANGE`, with the states in bits 11:4).
pub const SCHED_RUNSTATE_CHANGE: u32 = 0x0002_1001;
/// The scheduler ran and chose the vCPU that was running.
pub const SCHED_CONTINUE_RUNNING: u32 = 0x0002_1002;
/// The class of events particular to one scheduler: its number in bits 11:9, the event in bits 8:0.
pub const SCHED_CLASS: u32 = 0x0002_2000;
/// The bits of an event that name its class and subclass.
pub const SUBCLASS_MASK: u32 = 0xffff_f000;
/// A domain was created.
pub const SCHED_DOM_ADD: u32 = 0x0002_8001;
/// A domain was destroyed.
pub const SCHED_DOM_REM: u32 = 0x0002_8002;
/// A vCPU was put to sleep.
pub const SCHED_SLEEP: u32 = 0x0002_8003;
/// A vCPU was woken.
pub const SCHED_WAKE: u32 = 0x0002_8004;
/// A vCPU gave up the CPU.
pub const SCHED_YIELD: u32 = 0x0002_8005;
/// A vCPU blocked until its next event.
pub const SCHED_BLOCK: u32 = 0x0002_8006;
/// A domain shut down.
pub const SCHED_SHUTDOWN: u32 = 0x0002_8007;
/// The scheduler was set up anew.
pub const SCHED_CTL: u32 = 0x0002_8008;
/// A domain's scheduling parameters were set.
pub const SCHED_ADJDOM: u32 = 0x0002_8009;
/// A CPU changed from one vCPU to another.
pub const SCHED_SWITCH: u32 = 0x0002_800a;
/// The scheduler's timer fired.
pub const SCHED_S_TIMER: u32 = 0x0002_800b;
/// The timer that sends `VIRQ_TIMER` fired.
pub const SCHED_T_TIMER: u32 = 0x0002_800c;
/// A domain's own timer fired.
pub const SCHED_DOM_TIMER: u32 = 0x0002_800d;
/// The vCPU a CPU changes from, and how long it ran.
pub const SCHED_SWITCH_INFPREV: u32 = 0x0002_800e;
/// The vCPU a CPU changes to, how long it waited, and how long it may run.
pub const SCHED_SWITCH_INFNEXT: u32 = 0x0002_800f;
/// A domain said why it shuts down.
pub const SCHED_SHUTDOWN_CODE: u32 = 0x0002_8010;
/// The vCPU that goes on running, for how long it has run, and how long it may run.
pub const SCHED_SWITCH_INFCONT: u32 = 0x0002_8011;

/// The event's addresses are 64 bits wide.
pub const FLAG_64: u32 = 0x100;
/// The event concerns a nested guest.
pub const HVM_NESTED_FLAG: u32 = 0x400;
/// The class of HVM entries and exits.
pub const HVM_ENTRYEXIT: u32 = 0x0008_1000;
/// A vCPU entered its guest.
pub const HVM_VMENTRY: u32 = 0x0008_1001;
/// A vCPU left its guest: reason and instruction pointer.
pub const HVM_VMEXIT: u32 = 0x0008_1002;
/// The class of what HVM exit handlers do.
pub const HVM_HANDLER: u32 = 0x0008_2000;
/// An exception was injected: vector and error code.
pub const HVM_INJ_EXC: u32 = 0x0008_2003;
/// An interrupt was injected: vector, and whether it is faked through a real-mode emulation.
pub const HVM_INJ_VIRQ: u32 = 0x0008_2004;
/// An interrupt whose delivery an exit had broken off was injected again.
pub const HVM_REINJ_VIRQ: u32 = 0x0008_2005;
/// A host interrupt made the guest exit: its vector.
pub const HVM_INTR: u32 = 0x0008_200f;
/// A non-maskable interrupt made the guest exit.
pub const HVM_NMI: u32 = 0x0008_2010;
/// The guest halted; whether an interrupt was pending.
pub const HVM_HLT: u32 = 0x0008_2013;
/// An exit was asked for as soon as the guest can take an interrupt.
pub const HVM_INTR_WINDOW: u32 = 0x0008_2020;
/// The guest's local APIC was accessed through an exit.
pub const HVM_VLAPIC: u32 = 0x0008_2025;

/// A CPU's frequency changed: from, to.
pub const PM_FREQ_CHANGE: u32 = 0x0080_1001;
/// A CPU went to an idle state.
pub const PM_IDLE_ENTRY: u32 = 0x0080_1002;
/// A CPU came back from an idle state.
pub const PM_IDLE_EXIT: u32 = 0x0080_1003;

/// The old vector of a moved IRQ is still in use: IRQ, vector, CPU.
pub const HW_IRQ_MOVE_CLEANUP_DELAY: u32 = 0x0080_2001;
/// The old vector of a moved IRQ was freed: IRQ, vector, CPU.
pub const HW_IRQ_MOVE_CLEANUP: u32 = 0x0080_2002;
/// An IRQ was given a fixed vector: IRQ and vector, CPU mask.
pub const HW_IRQ_BIND_VECTOR: u32 = 0x0080_2003;
/// An IRQ's vector was freed: IRQ and vector, CPU mask.
pub const HW_IRQ_CLEAR_VECTOR: u32 = 0x0080_2004;
/// A move was ended because its IRQ's vector is freed: IRQ and vector, CPU mask.
pub const HW_IRQ_MOVE_FINISH: u32 = 0x0080_2005;
/// An IRQ was given a vector: IRQ and vector, CPU mask.
pub const HW_IRQ_ASSIGN_VECTOR: u32 = 0x0080_2006;
/// An interrupt came under a vector nobody holds.
pub const HW_IRQ_UNMAPPED_VECTOR: u32 = 0x0080_2007;
/// An interrupt was handled: IRQ, low words of the time stamps before and after.
pub const HW_IRQ_HANDLED: u32 = 0x0080_2008;

#[cfg(test)]
mod tests {
    use super::TraceHeader;

    #[test]
    fn a_header_splits_into_event_word_count_and_time_stamp_flag() {
        let header = TraceHeader::new().with_event(0x0802008).with_extra_words(3).with_has_cycles(true);
        assert_eq!(u32::from(header), 0xb080_2008);
        let change = TraceHeader::from(0x2001_f003);
        assert_eq!((change.event(), change.extra_words(), change.has_cycles()), (super::CPU_CHANGE, 2, false));
    }
}
