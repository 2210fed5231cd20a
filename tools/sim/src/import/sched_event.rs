//! Trace records of the schedulers (`TRC_SCHED_*`; words as `xen/common/sched` writes them).

use carillon_machine::VcpuRef;
use hypervisor_abi::trace;
use vector_allocator::DomainId;

use super::Extra;
use super::trace_event::high_half;
use super::trace_event::low_half;

/// The domain of the vCPUs that idle.
pub const IDLE_DOMAIN: DomainId = DomainId(0x7fff);

/// What a vCPU is doing (`RUNSTATE_*`, `public/vcpu.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It runs.
    Running,
    /// It could run, but another runs.
    Runnable,
    /// It waits for an event.
    Blocked,
    /// It is off or paused.
    Offline,
}

/// What a scheduler did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedEvent {
    /// A vCPU's state changed.
    RunState {
        /// Whose.
        vcpu: VcpuRef,
        /// From.
        from: RunState,
        /// To.
        to: RunState,
    },
    /// The scheduler ran and chose who was running.
    ContinueRunning {
        /// Who.
        vcpu: VcpuRef,
    },
    /// A domain was created.
    DomainAdded {
        /// Which.
        domain: u32,
    },
    /// A domain was destroyed.
    DomainRemoved {
        /// Which.
        domain: u32,
    },
    /// A vCPU was put to sleep.
    Sleep {
        /// Which.
        vcpu: VcpuRef,
    },
    /// A vCPU was woken.
    Wake {
        /// Which.
        vcpu: VcpuRef,
    },
    /// A vCPU gave up its CPU.
    Yield {
        /// Which.
        vcpu: VcpuRef,
    },
    /// A vCPU waits for its next event.
    Block {
        /// Which.
        vcpu: VcpuRef,
    },
    /// A domain shut down.
    Shutdown {
        /// Which of its vCPUs asked.
        vcpu: VcpuRef,
        /// Why (`SHUTDOWN_*`).
        reason: u32,
    },
    /// A domain said why it shuts down.
    ShutdownCode {
        /// Which of its vCPUs asked.
        vcpu: VcpuRef,
        /// Why (`SHUTDOWN_*`).
        reason: u32,
    },
    /// The scheduler was set up anew.
    Control,
    /// A domain's parameters were set.
    DomainAdjusted {
        /// Which.
        domain: u32,
    },
    /// A CPU changed from one vCPU to another.
    Switch {
        /// Who ran.
        from: VcpuRef,
        /// Who runs.
        to: VcpuRef,
    },
    /// Who stops running.
    SwitchedFrom {
        /// Who.
        vcpu: VcpuRef,
        /// How long it ran, ns.
        ran_ns: u32,
    },
    /// Who starts running.
    SwitchedTo {
        /// Who.
        vcpu: VcpuRef,
        /// How long it had been in its last state, ns, as far as 32 bits hold it.
        waited_ns: u32,
        /// How long it may run, ns; all ones for as long as it likes.
        slice_ns: u32,
    },
    /// Who goes on running.
    SwitchedToSelf {
        /// Who.
        vcpu: VcpuRef,
        /// For how long it has run, ns.
        ran_ns: u32,
        /// How long it may run, ns.
        slice_ns: u32,
    },
    /// The scheduler's own timer fired.
    SchedulerTimer,
    /// The timer that sends `VIRQ_TIMER` fired.
    TickTimer,
    /// A domain's own timer fired.
    DomainTimer,
    /// Something particular to one scheduler.
    Own(SchedulerEvent),
}

/// An event particular to one scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerEvent {
    /// Whose.
    pub scheduler: SchedulerName,
    /// The event's number, 1–511, in that scheduler's own numbering.
    pub number: u16,
    /// The event's words.
    pub extra: Extra,
}

/// Which scheduler (`TRC_SCHED_CSCHED` and others).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchedulerName {
    /// `credit`.
    Credit,
    /// `credit2`.
    Credit2,
    /// `arinc653`.
    Arinc653,
    /// `rtds`.
    Rtds,
    /// `null`.
    Null,
    /// A number without a name: 2, 6 or 7.
    Other(u8),
}

/// Events of credit2 that say who is kept waiting (`xen/common/sched/credit2.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit2Event {
    /// A woken vCPU asks a CPU to look at its queue.
    Tickle {
        /// Which CPU.
        cpu: u32,
    },
    /// A vCPU's credit ran out, and all are given new credit.
    CreditReset {
        /// Whose.
        vcpu: VcpuRef,
        /// Credit before.
        from: i32,
        /// Credit after.
        to: i32,
    },
    /// A vCPU goes on because it has not run for the rate limit yet.
    RateLimit {
        /// Which.
        vcpu: VcpuRef,
        /// For how long it has run, ns.
        ran_ns: u32,
    },
    /// A vCPU was taken from another queue.
    Migrate {
        /// Which.
        vcpu: VcpuRef,
    },
}

impl SchedEvent {
    pub(super) fn decode(event: u32, extra: &Extra) -> Option<Self> {
        let word = |index| extra.word(index);
        // Two words here, one packed word in run-state changes.
        let pair = |first: usize| Some(VcpuRef { domain: DomainId(low_half(word(first)?)), vcpu: word(first + 1)? });
        Some(match event {
            trace::SCHED_CONTINUE_RUNNING => Self::ContinueRunning { vcpu: packed(word(0)?) },
            event if event & trace::SCHED_RUNSTATE_MASK == trace::SCHED_RUNSTATE_CHANGE => Self::RunState {
                vcpu: packed(word(0)?),
                from: RunState::decode(event >> 8 & 0xf)?,
                to: RunState::decode(event >> 4 & 0xf)?,
            },
            trace::SCHED_DOM_ADD => Self::DomainAdded { domain: word(0)? },
            trace::SCHED_DOM_REM => Self::DomainRemoved { domain: word(0)? },
            trace::SCHED_SLEEP => Self::Sleep { vcpu: pair(0)? },
            trace::SCHED_WAKE => Self::Wake { vcpu: pair(0)? },
            trace::SCHED_YIELD => Self::Yield { vcpu: pair(0)? },
            trace::SCHED_BLOCK => Self::Block { vcpu: pair(0)? },
            trace::SCHED_SHUTDOWN => Self::Shutdown { vcpu: pair(0)?, reason: word(2)? },
            trace::SCHED_SHUTDOWN_CODE => Self::ShutdownCode { vcpu: pair(0)?, reason: word(2)? },
            trace::SCHED_CTL => Self::Control,
            trace::SCHED_ADJDOM => Self::DomainAdjusted { domain: word(0)? },
            trace::SCHED_SWITCH => Self::Switch { from: pair(0)?, to: pair(2)? },
            trace::SCHED_SWITCH_INFPREV => Self::SwitchedFrom { vcpu: pair(0)?, ran_ns: word(2)? },
            trace::SCHED_SWITCH_INFNEXT => Self::SwitchedTo { vcpu: pair(0)?, waited_ns: word(2)?, slice_ns: word(3)? },
            trace::SCHED_SWITCH_INFCONT => {
                Self::SwitchedToSelf { vcpu: pair(0)?, ran_ns: word(2)?, slice_ns: word(3)? }
            }
            trace::SCHED_S_TIMER => Self::SchedulerTimer,
            trace::SCHED_T_TIMER => Self::TickTimer,
            trace::SCHED_DOM_TIMER => Self::DomainTimer,
            event if event & trace::SUBCLASS_MASK == trace::SCHED_CLASS => Self::Own(SchedulerEvent {
                scheduler: SchedulerName::decode(event >> 9 & 7),
                number: low_half(event & 0x1ff),
                extra: *extra,
            }),
            _ => return None,
        })
    }
}

impl RunState {
    const fn decode(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Running),
            1 => Some(Self::Runnable),
            2 => Some(Self::Blocked),
            3 => Some(Self::Offline),
            _ => None,
        }
    }
}

impl SchedulerName {
    #[expect(clippy::cast_possible_truncation, reason = "the number has three bits")]
    const fn decode(number: u32) -> Self {
        match number {
            0 => Self::Credit,
            1 => Self::Credit2,
            3 => Self::Arinc653,
            4 => Self::Rtds,
            5 => Self::Null,
            other => Self::Other(other as u8),
        }
    }
}

impl SchedulerEvent {
    /// The event, if it is one of credit2's that are decoded.
    #[must_use]
    pub fn credit2(&self) -> Option<Credit2Event> {
        if self.scheduler != SchedulerName::Credit2 {
            return None;
        }
        let word = |index| self.extra.word(index);
        Some(match self.number {
            0x06 => Credit2Event::Tickle { cpu: word(0)? },
            0x07 => Credit2Event::CreditReset {
                vcpu: packed(word(0)?),
                from: word(1)?.cast_signed(),
                to: word(2)?.cast_signed(),
            },
            0x0f => Credit2Event::Migrate { vcpu: packed(word(0)?) },
            0x16 => Credit2Event::RateLimit { vcpu: packed(word(0)?), ran_ns: word(1)? },
            _ => return None,
        })
    }
}

/// `domain << 16 | vcpu`
fn packed(word: u32) -> VcpuRef {
    VcpuRef { domain: DomainId(high_half(word)), vcpu: u32::from(low_half(word)) }
}
