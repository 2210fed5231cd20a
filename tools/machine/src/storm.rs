//! Xen's guard against interrupt storms (`irq_ratelimit`).

use crate::Span;
use crate::Time;

/// How many interrupts of one source a period admits.
pub const STORM_LIMIT: u32 = 10_000;
/// The period, ns.
pub const STORM_PERIOD: Span = Span(10_000_000);

/// Counts a source's interrupts per period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StormGuard {
    count: u32,
    since: Time,
}

/// Whether an interrupt may be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Admitted,
    /// The source is off until then.
    Throttled(Time),
}

impl StormGuard {
    /// Counts one interrupt at `now`.
    pub(crate) fn admit(&mut self, now: Time) -> Verdict {
        let end = self.since + STORM_PERIOD;
        if now >= end {
            *self = Self { count: 0, since: now };
        }
        if self.count >= STORM_LIMIT {
            return Verdict::Throttled(end);
        }
        self.count += 1;
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

    #[test]
    fn exactly_ten_thousand_pass_and_the_next_waits_for_the_end_of_its_period() {
        let mut guard = StormGuard::default();
        let start = Time(50_000_000);
        for i in 0..u64::from(STORM_LIMIT) {
            assert_eq!(guard.admit(Time(start.0 + i)), Verdict::Admitted, "interrupt {i}");
        }
        let end = start + STORM_PERIOD;
        assert_eq!(guard.admit(Time(start.0 + 20_000)), Verdict::Throttled(end));
        assert_eq!(guard.admit(Time(end.0 - 1)), Verdict::Throttled(end));
        assert_eq!(guard.admit(end), Verdict::Admitted);
    }

    #[test]
    fn a_steady_source_below_the_limit_is_never_throttled() {
        let mut guard = StormGuard::default();
        for i in 0..100_000u64 {
            assert_eq!(guard.admit(Time(i * 1_001)), Verdict::Admitted, "interrupt {i}");
        }
    }
}
