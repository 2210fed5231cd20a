//! Xen's guard against interrupt storms (`irq_ratelimit`, `do_IRQ` in arch/x86/irq.c).
//!
//! The guard looks at the clock only when the count is full. If the quantum that began at the last such look is not over,
//! the interrupt is turned away and its source disabled: until 10 ms after the trip, not until the end of the quantum.
//! Otherwise the interrupt is handled, and the count and the quantum begin anew.

use crate::Span;
use crate::Time;

/// How many interrupts of one source are handled before the guard looks at the clock.
pub const STORM_LIMIT: u32 = 10_000;
/// The quantum they may not come within, and how long a source is off that broke it, ns.
pub const STORM_PERIOD: Span = Span(10_000_000);

/// Counts a source's interrupts (Xen: `rl_cnt`, `rl_quantum_start`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StormGuard {
    count: u32,
    quantum: Time,
}

/// Whether an interrupt may be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Admitted,
    /// It is turned away.
    TurnedAway,
}

impl StormGuard {
    /// Counts one interrupt at `now`.
    pub(crate) fn admit(&mut self, now: Time) -> Verdict {
        if self.count < STORM_LIMIT {
            self.count += 1;
            return Verdict::Admitted;
        }
        if now < self.quantum + STORM_PERIOD {
            return Verdict::TurnedAway;
        }
        *self = Self { count: 0, quantum: now };
        Verdict::Admitted
    }
}

#[cfg(test)]
mod tests {
    use super::STORM_LIMIT;
    use super::STORM_PERIOD;
    use super::StormGuard;
    use super::Verdict;
    use crate::Time;

    /// A guard whose quantum began at `start`, by the interrupt that found the count full.
    fn begun(start: Time) -> StormGuard {
        let mut guard = StormGuard::default();
        (0..STORM_LIMIT).for_each(|_| assert_eq!(guard.admit(Time(0)), Verdict::Admitted));
        assert_eq!(guard.admit(start), Verdict::Admitted, "the quantum of the machine's start is long over");
        guard
    }

    #[test]
    fn ten_thousand_follow_the_interrupt_that_began_the_quantum_and_the_next_is_turned_away() {
        let start = Time(50_000_000);
        let mut guard = begun(start);
        for i in 0..u64::from(STORM_LIMIT) {
            assert_eq!(guard.admit(Time(start.0 + i)), Verdict::Admitted, "interrupt {i}");
        }
        let end = start + STORM_PERIOD;
        assert_eq!(guard.admit(Time(start.0 + 20_000)), Verdict::TurnedAway);
        assert_eq!(guard.admit(Time(end.0 - 1)), Verdict::TurnedAway);
        assert_eq!(guard.admit(end), Verdict::Admitted);
    }

    /// The clock is not looked at before the count is full: what came slowly long ago counts against a burst now.
    #[test]
    fn a_count_does_not_start_anew_by_time_alone() {
        let start = Time(50_000_000);
        let mut guard = begun(start);
        for i in 0..u64::from(STORM_LIMIT) {
            assert_eq!(guard.admit(start + STORM_PERIOD), Verdict::Admitted, "interrupt {i}");
        }
        let burst = Time(start.0 + 3 * STORM_PERIOD.0);
        assert_eq!(guard.admit(burst), Verdict::Admitted, "the quantum is over: this one begins the next");
        (0..STORM_LIMIT).for_each(|_| assert_eq!(guard.admit(burst), Verdict::Admitted));
        assert_eq!(guard.admit(burst), Verdict::TurnedAway, "twice the limit and one fit into a burst, no more");
    }

    #[test]
    fn a_steady_source_below_the_limit_is_never_turned_away() {
        let mut guard = StormGuard::default();
        for i in 0..100_000u64 {
            assert_eq!(guard.admit(Time(STORM_PERIOD.0 + i * 1_000)), Verdict::Admitted, "interrupt {i}");
        }
    }
}
