//! Keeps a host in order: when a look shows that something is to be mended, says that it is time to mend it, but not more often than is
//! good for the host.
//!
//! ```text
//!   look ──► in order ─────────────────────────► wait an interval
//!        └─► to mend ──► within the rate? ─ no ─► wait until it is
//!                         │ yes
//!                         ▼
//!                       mend ──► mended ────────► wait an interval
//!                           └──► taken back, or refused ──► wait twice as long as the last time
//! ```

use alloc::collections::VecDeque;
use core::time::Duration;

/// How often a host may be looked at and changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one look to the next.
    pub interval: Duration,
    /// The most deeds within [`per`](Self::per).
    pub deeds: u32,
    /// The time those deeds may take up.
    pub per: Duration,
    /// How long nothing is tried after an attempt that failed; twice as long after each further one.
    pub rest: Duration,
    /// The longest such rest.
    pub longest_rest: Duration,
}

impl Default for Pace {
    /// A look each 10 s, 60 deeds a minute, and after a failure a rest from one minute to one hour.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            deeds: 60,
            per: Duration::from_secs(60),
            rest: Duration::from_secs(60),
            longest_rest: Duration::from_secs(3600),
        }
    }
}

/// What a look shows, by a rehearsal of what would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing is to be done.
    InOrder,
    /// So many deeds would mend it.
    ToMend {
        /// How many.
        deeds: u32,
    },
    /// It is not in order and cannot be mended.
    BeyondMending,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The host is in order.
    Mended {
        /// How many deeds it took.
        deeds: u32,
    },
    /// It is not, and what was done is taken back.
    Failed {
        /// How many deeds were done for it.
        deeds: u32,
    },
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Leave,
    /// Mend it now, and say what came of it ([`Watch::tried`]).
    Mend,
    /// It is to be mended, but too much was done lately.
    TooOften,
    /// It is to be mended, but the last attempt failed.
    Resting,
    /// It cannot be mended.
    GiveUp,
}

/// A host that is watched. Times are counted from any beginning; they never go back.
#[derive(Clone, Debug)]
pub struct Watch {
    pace: Pace,
    /// When deeds were done, and how many.
    done: VecDeque<(Duration, u32)>,
    /// Attempts that failed one after the other.
    failures: u32,
    /// Nothing is tried before.
    rested_at: Duration,
    next_look: Duration,
}

impl Watch {
    /// A host that is looked at from now on.
    #[must_use]
    pub const fn new(pace: Pace, now: Duration) -> Self {
        Self { pace, done: VecDeque::new(), failures: 0, rested_at: now, next_look: now }
    }

    /// When to look next.
    #[must_use]
    pub const fn next_look(&self) -> Duration {
        self.next_look
    }

    /// Says what to do about what a look shows.
    ///
    /// An attempt that takes more deeds than the rate allows at all is made when nothing was done for a whole
    /// [`Pace::per`]: else it would never be made.
    pub fn looked(&mut self, now: Duration, seen: Seen) -> Verdict {
        self.next_look = now.saturating_add(self.pace.interval);
        while self.done.front().is_some_and(|(then, _)| then.saturating_add(self.pace.per) <= now) {
            self.done.pop_front();
        }
        match seen {
            Seen::InOrder => {
                self.failures = 0;
                Verdict::Leave
            }
            Seen::BeyondMending => Verdict::GiveUp,
            Seen::ToMend { .. } if now < self.rested_at => {
                self.next_look = self.next_look.max(self.rested_at);
                Verdict::Resting
            }
            Seen::ToMend { deeds } => {
                let lately = self.done.iter().fold(0, |sum: u32, (_, deeds)| sum.saturating_add(*deeds));
                match self.done.front() {
                    Some((oldest, _)) if lately.saturating_add(deeds) > self.pace.deeds => {
                        self.next_look = self.next_look.max(oldest.saturating_add(self.pace.per));
                        Verdict::TooOften
                    }
                    _ => Verdict::Mend,
                }
            }
        }
    }

    /// Learns what became of an attempt.
    pub fn tried(&mut self, now: Duration, tried: Tried) {
        let (Tried::Mended { deeds } | Tried::Failed { deeds }) = tried;
        if deeds > 0 {
            self.done.push_back((now, deeds));
        }
        match tried {
            Tried::Mended { .. } => self.failures = 0,
            Tried::Failed { .. } => {
                let times = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
                let rest = self.pace.rest.saturating_mul(times).min(self.pace.longest_rest);
                self.failures = self.failures.saturating_add(1);
                self.rested_at = now.saturating_add(rest);
            }
        }
        self.next_look = now.saturating_add(self.pace.interval).max(self.next_look);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::Pace;
    use super::Seen;
    use super::Tried;
    use super::Verdict;
    use super::Watch;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const PACE: Pace =
        Pace { interval: seconds(10), deeds: 6, per: seconds(60), rest: seconds(30), longest_rest: seconds(100) };

    /// Runs a watch on a virtual clock until `end`; `seen` says what each look shows, `tried` what an attempt comes to.
    fn run(end: u64, seen: impl Fn(u64) -> Seen, tried: impl Fn(u64) -> Tried) -> alloc::vec::Vec<(u64, Verdict)> {
        let mut watch = Watch::new(PACE, seconds(0));
        let mut verdicts = alloc::vec::Vec::new();
        while watch.next_look() < seconds(end) {
            let now = watch.next_look();
            let verdict = watch.looked(now, seen(now.as_secs()));
            verdicts.push((now.as_secs(), verdict));
            if verdict == Verdict::Mend {
                watch.tried(now, tried(now.as_secs()));
            }
            assert!(watch.next_look() > now, "time goes on");
        }
        verdicts
    }

    #[test]
    fn a_host_in_order_is_looked_at_each_interval_and_left_alone() {
        let seen = run(35, |_| Seen::InOrder, |_| unreachable!("nothing is to be mended"));
        assert_eq!(seen, [(0, Verdict::Leave), (10, Verdict::Leave), (20, Verdict::Leave), (30, Verdict::Leave)]);
    }

    #[test]
    fn a_host_that_breaks_again_and_again_is_mended_no_more_often_than_the_rate_allows() {
        let seen = run(200, |_| Seen::ToMend { deeds: 3 }, |_| Tried::Mended { deeds: 3 });
        let mended: alloc::vec::Vec<u64> =
            seen.iter().filter(|(_, verdict)| *verdict == Verdict::Mend).map(|(at, _)| *at).collect();
        assert_eq!(mended, [0, 10, 60, 70, 120, 130, 180, 190]);
        assert!(seen.contains(&(20, Verdict::TooOften)));
        for at in mended.iter().copied() {
            let within = mended.iter().filter(|other| (at..at + 60).contains(*other)).count();
            assert!(within * 3 <= 6, "{mended:?}");
        }
    }

    #[test]
    fn an_attempt_larger_than_the_rate_is_made_once_all_was_quiet() {
        let seen = run(100, |_| Seen::ToMend { deeds: 9 }, |_| Tried::Mended { deeds: 9 });
        let mended = seen.iter().filter(|(_, verdict)| *verdict == Verdict::Mend).map(|(at, _)| *at);
        assert!(mended.eq([0, 60]), "{seen:?}");
    }

    #[test]
    fn after_each_failure_the_rest_is_twice_as_long_up_to_a_bound() {
        let seen = run(500, |_| Seen::ToMend { deeds: 1 }, |_| Tried::Failed { deeds: 0 });
        let tried = seen.iter().filter(|(_, verdict)| *verdict == Verdict::Mend).map(|(at, _)| *at);
        // 30 s, 60 s, then no more than 100 s.
        assert!(tried.eq([0, 30, 90, 190, 290, 390, 490]), "{seen:?}");
    }

    #[test]
    fn a_host_found_in_order_ends_the_rests() {
        let seen = run(
            200,
            |now| if (30..60).contains(&now) { Seen::InOrder } else { Seen::ToMend { deeds: 1 } },
            |_| Tried::Failed { deeds: 0 },
        );
        let tried = seen.iter().filter(|(_, verdict)| *verdict == Verdict::Mend).map(|(at, _)| *at);
        assert!(tried.eq([0, 60, 90, 150]), "the rest begins at 30 s again: {seen:?}");
    }

    #[test]
    fn what_cannot_be_mended_is_said_and_time_never_overflows() {
        let mut watch = Watch::new(PACE, Duration::MAX);
        assert_eq!(watch.looked(Duration::MAX, Seen::BeyondMending), Verdict::GiveUp);
        assert_eq!(watch.looked(Duration::MAX, Seen::ToMend { deeds: u32::MAX }), Verdict::Mend);
        for _ in 0..40 {
            watch.tried(Duration::MAX, Tried::Failed { deeds: u32::MAX });
        }
        assert_eq!(watch.next_look(), Duration::MAX);
    }
}
