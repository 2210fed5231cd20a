//! `sched=null`: one vCPU to a CPU, for good.

use super::Judgement;
use super::Roaming;
use super::Rules;
use super::Running;
use crate::Span;

/// The scheduler that never has to choose.
#[derive(Debug)]
pub(super) struct Null;

impl Rules for Null {
    fn cpus_per_queue(&self) -> u32 {
        1
    }

    fn roaming(&self) -> Roaming {
        Roaming::Home
    }

    fn is_preemptable(&self, _ran: Span) -> bool {
        false
    }

    fn wake(&self, _running: Running, _waiting: Span) -> Judgement {
        Judgement::StayForGood
    }

    fn judge(&self, _running: Running, _waiting: Span) -> Judgement {
        Judgement::StayForGood
    }
}
