//! Xen's default scheduler, as far as interrupts feel it: the rate limit, slices, and queues shared by some CPUs.

use super::Judgement;
use super::Roaming;
use super::Rules;
use super::Running;
use crate::Span;

/// CPUs that share a queue (`sched_credit2_max_cpus_runqueue`, default 16).
const CPUS_PER_QUEUE: u32 = 16;

/// credit2 with its rate limit (`sched_ratelimit_us`) and longest slice.
#[derive(Debug)]
pub(super) struct Credit2 {
    pub(super) ratelimit: Span,
    pub(super) slice: Span,
}

impl Rules for Credit2 {
    fn cpus_per_queue(&self) -> u32 {
        CPUS_PER_QUEUE
    }

    fn roaming(&self) -> Roaming {
        Roaming::Affinity
    }

    /// Before the rate limit is over nobody is pre-empted, whoever wakes; then the one that has burned less goes first.
    fn judge(&self, running: Running, waiting: Span) -> Judgement {
        if running.ran < self.ratelimit {
            Judgement::Stay(self.ratelimit)
        } else if waiting < running.burned || running.ran >= self.slice {
            Judgement::Switch
        } else {
            Judgement::Stay(self.slice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Credit2;
    use crate::Span;
    use crate::sched::Judgement;
    use crate::sched::Rules;
    use crate::sched::Running;

    #[test]
    fn a_woken_vcpu_waits_for_the_rate_limit_and_then_pre_empts_who_burned_more() {
        let rules = Credit2 { ratelimit: Span(1_000_000), slice: Span(10_000_000) };
        let running = |ran| Running { ran: Span(ran), burned: Span(5_000_000) };
        assert_eq!(rules.judge(running(999_999), Span(0)), Judgement::Stay(Span(1_000_000)));
        assert_eq!(rules.judge(running(1_000_000), Span(4_999_999)), Judgement::Switch);
        assert_eq!(rules.judge(running(1_000_000), Span(5_000_000)), Judgement::Stay(Span(10_000_000)));
        assert_eq!(rules.judge(running(10_000_000), Span(9_000_000)), Judgement::Switch);
    }
}
