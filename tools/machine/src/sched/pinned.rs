//! Each vCPU on the CPU it starts on; those that share one take turns by slices, the one that burned less first.

use super::Judgement;
use super::Roaming;
use super::Rules;
use super::Running;
use crate::Span;

/// Pinned vCPUs and the slice by which they take turns.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) slice: Span,
}

impl Rules for Pinned {
    fn cpus_per_queue(&self) -> u32 {
        1
    }

    fn roaming(&self) -> Roaming {
        Roaming::Home
    }

    fn is_preemptable(&self, _ran: Span) -> bool {
        true
    }

    fn wake(&self, running: Running, waiting: Span) -> Judgement {
        self.judge(running, waiting)
    }

    fn judge(&self, running: Running, waiting: Span) -> Judgement {
        if waiting < running.burned || running.ran >= self.slice {
            Judgement::Switch
        } else {
            Judgement::Stay(self.slice)
        }
    }
}
