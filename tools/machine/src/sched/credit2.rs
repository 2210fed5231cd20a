//! Xen's default scheduler, as far as interrupts feel it (`common/sched/credit2.c`): the rate limit, the timer of the
//! running vCPU, and queues shared by some CPUs.
//!
//! ```text
//!  a vCPU wakes while another runs that has less credit:
//!
//!  the other's run │◄──── rate limit, 1 ms ────►│
//!                  │  not disturbed      │ looks │ pre-empted at once
//!                  └──────────┬──────────┴───┬───┘
//!                             │              └ and lets it run on, for 500 µs at least
//!                             └ until its timer, set when it got the CPU: when its credit is used up, 10 ms at most
//! ```
//!
//! Credit is what a vCPU may burn until the queue's credits are reset, 10 ms at a time. Left out: soft affinity, caps,
//! weights, and the resistance of 500 µs against moving between CPUs of a queue.

use super::CREDIT;
use super::Judgement;
use super::Roaming;
use super::Rules;
use super::Running;
use crate::Span;

/// CPUs that share a queue (`sched_credit2_max_cpus_runqueue`, default 16).
const CPUS_PER_QUEUE: u32 = 16;
/// How much of the rate limit may be left to a vCPU whose CPU is asked to look (`CSCHED2_RATELIMIT_TICKLE_TOLERANCE`).
const TOLERANCE: Span = Span(50_000);
/// The shortest time for which the timer is set (`CSCHED2_MIN_TIMER`).
const MIN_TIMER: Span = Span(500_000);

/// credit2 with its rate limit (`sched_ratelimit_us`) and longest timer (`CSCHED2_MAX_TIMER`, 10 ms).
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

    fn is_preemptable(&self, ran: Span) -> bool {
        self.ratelimit <= TOLERANCE || ran.0 > self.ratelimit.0 - TOLERANCE.0
    }

    /// The CPU is asked to look if the one that woke has more credit and the rate limit is nearly over (`tickle_score`).
    fn wake(&self, running: Running, waiting: Span) -> Judgement {
        if self.is_preemptable(running.ran) && waiting < running.burned {
            Judgement::Switch
        } else {
            Judgement::Stay(self.timer(running))
        }
    }

    /// Before the rate limit is over nobody is pre-empted; then the one with more credit goes first (`runq_candidate`),
    /// and the other's timer is set to when both have the same (`csched2_runtime`).
    fn judge(&self, running: Running, waiting: Span) -> Judgement {
        if running.ran >= self.ratelimit && waiting < running.burned {
            return Judgement::Switch;
        }
        let least = Span(self.ratelimit.0.saturating_sub(running.ran.0).max(MIN_TIMER.0));
        let even = Span(waiting.0.saturating_sub(running.burned.0));
        Judgement::Stay(running.ran.plus(self.bounded(even, least)))
    }
}

impl Credit2 {
    /// When the timer of a vCPU for whose CPU nobody waited goes off next, from when it got the CPU.
    fn timer(&self, running: Running) -> Span {
        let used_up = |burned: u64| (burned / CREDIT.0 + 1) * CREDIT.0;
        let start = running.burned.0.saturating_sub(running.ran.0);
        let credit = used_up(running.watermark.0.max(start)) - start;
        let first = self.bounded(Span(credit), Span(self.ratelimit.0.max(MIN_TIMER.0)));
        if running.ran < first {
            return first;
        }
        // It has gone off, and credits were reset when they were used up.
        let left = used_up(running.burned.0.max(running.watermark.0)) - running.burned.0;
        running.ran.plus(self.bounded(Span(left), MIN_TIMER))
    }

    fn bounded(&self, time: Span, least: Span) -> Span {
        if time < least { least } else { time.min(self.slice) }
    }
}

#[cfg(test)]
mod tests {
    use super::Credit2;
    use crate::Span;
    use crate::sched::Judgement;
    use crate::sched::Rules;
    use crate::sched::Running;

    const RULES: Credit2 = Credit2 { ratelimit: Span(1_000_000), slice: Span(10_000_000) };

    fn running(ran: u64, burned: u64) -> Running {
        Running { ran: Span(ran), burned: Span(burned), watermark: Span(0) }
    }

    #[test]
    fn the_scheduler_keeps_who_runs_for_the_rate_limit_and_then_takes_who_has_more_credit() {
        let judge = |ran, waiting| RULES.judge(running(ran, 5_000_000), Span(waiting));
        assert_eq!(judge(300_000, 0), Judgement::Stay(Span(1_000_000)));
        assert_eq!(judge(999_999, 0), Judgement::Stay(Span(1_499_999)), "the timer is never shorter than 500 µs");
        assert_eq!(judge(1_000_000, 4_999_999), Judgement::Switch);
        assert_eq!(judge(1_000_000, 5_000_000), Judgement::Stay(Span(1_500_000)));
        assert_eq!(judge(1_000_000, 7_000_000), Judgement::Stay(Span(3_000_000)), "until both have the same");
        assert_eq!(judge(1_000_000, 90_000_000), Judgement::Stay(Span(11_000_000)), "but 10 ms at most");
    }

    #[test]
    fn one_that_wakes_in_the_rate_limit_waits_for_the_timer_of_who_runs() {
        let wake = |ran, burned, waiting| RULES.wake(running(ran, burned), Span(waiting));
        assert_eq!(wake(950_000, 950_000, 0), Judgement::Stay(Span(10_000_000)));
        assert_eq!(wake(950_001, 950_001, 0), Judgement::Switch);
        assert_eq!(wake(100_000, 7_100_000, 0), Judgement::Stay(Span(3_000_000)), "3 of its 10 ms of credit were left");
        assert_eq!(wake(100_000, 9_900_000, 0), Judgement::Stay(Span(1_000_000)), "the rate limit at least");
        assert_eq!(
            wake(25_000_000, 25_000_000, 25_000_000),
            Judgement::Stay(Span(30_000_000)),
            "no more credit than it"
        );
        let behind = Running { watermark: Span(19_000_000), ..running(100_000, 10_100_000) };
        assert_eq!(RULES.wake(behind, Span(0)), Judgement::Stay(Span(10_000_000)));
    }
}
