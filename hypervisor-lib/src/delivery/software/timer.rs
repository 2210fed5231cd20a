//! The timer: counts down from a number, or waits for the time-stamp counter (SDM vol. 3A, 11.5.4).
//!
//! Nothing runs: what has passed is worked out when somebody asks.

use hypervisor_abi::apic::DivideConfiguration;
use hypervisor_abi::apic::TimerMode;

use crate::delivery::time::Deadline;
use crate::delivery::time::Moment;

/// Whether the timer has fired since it was last looked at. Several expiries of a periodic one are one interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    None,
    Fired,
}

/// The timer's registers, and when they were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timer {
    initial: u32,
    divide: DivideConfiguration,
    /// The current count at `since`; 0 when it stands still.
    left: u32,
    /// In ticks of the bus clock.
    since: u64,
    /// `IA32_TSC_DEADLINE`; 0 when not armed.
    tsc_deadline: u64,
}

impl Timer {
    /// A timer as it was saved; its count goes on from `now`.
    pub(super) fn restored(initial: u32, current: u32, divide: u32, tsc_deadline: u64, now: Moment) -> Self {
        let divide = DivideConfiguration::new(divide);
        Self { initial, divide, left: current, since: now.bus, tsc_deadline }
    }

    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) fn divide(&self) -> DivideConfiguration {
        self.divide
    }

    pub(super) fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// The current count, of a timer that has been [advanced](Self::advance) to `now`.
    pub(super) fn current(&self, now: Moment) -> u32 {
        let counted = now.bus.saturating_sub(self.since) >> self.divide.shift();
        u32::try_from(u64::from(self.left).saturating_sub(counted)).unwrap_or(0)
    }

    /// Starts to count down from `count`; 0 stops.
    pub(super) fn set_initial(&mut self, count: u32, now: Moment) {
        self.initial = count;
        self.left = count;
        self.since = now.bus;
    }

    /// Goes on counting from where it is, at another rate. The manual leaves open what happens to a count under way.
    pub(super) fn set_divide(&mut self, divide: u32, now: Moment) {
        self.left = self.current(now);
        self.since = now.bus;
        self.divide = DivideConfiguration::new(divide);
    }

    pub(super) fn set_tsc_deadline(&mut self, deadline: u64) {
        self.tsc_deadline = deadline;
    }

    /// Changes the mode. Between one-shot and periodic the count goes on; to and from the deadline mode, and the mode there
    /// is not, the timer is disarmed (SDM vol. 3A, 11.5.4.1).
    pub(super) fn change_mode(&mut self, from: TimerMode, to: TimerMode) {
        if from != to && !(counts(from) && counts(to)) {
            self.tsc_deadline = 0;
            self.initial = 0;
            self.left = 0;
        }
    }

    /// Goes on to `now`.
    pub(super) fn advance(&mut self, mode: TimerMode, now: Moment) -> Expiry {
        match mode {
            TimerMode::OneShot if self.is_counted_down(now) => {
                self.left = 0;
                Expiry::Fired
            }
            TimerMode::Periodic if self.is_counted_down(now) => {
                self.begin_period(now);
                Expiry::Fired
            }
            TimerMode::TscDeadline if self.tsc_deadline != 0 && now.tsc >= self.tsc_deadline => {
                self.tsc_deadline = 0;
                Expiry::Fired
            }
            _ => Expiry::None,
        }
    }

    /// When it fires next.
    pub(super) fn deadline(&self, mode: TimerMode) -> Option<Deadline> {
        match mode {
            TimerMode::OneShot | TimerMode::Periodic if self.left != 0 => Some(Deadline::Bus(self.end())),
            TimerMode::TscDeadline if self.tsc_deadline != 0 => Some(Deadline::Tsc(self.tsc_deadline)),
            _ => None,
        }
    }

    fn is_counted_down(&self, now: Moment) -> bool {
        self.left != 0 && now.bus >= self.end()
    }

    /// When the count reaches 0.
    fn end(&self) -> u64 {
        self.since.saturating_add(u64::from(self.left) << self.divide.shift())
    }

    /// Begins the period that `now` is in, however many have gone by unseen.
    fn begin_period(&mut self, now: Moment) {
        let end = self.end();
        let period = u64::from(self.initial) << self.divide.shift();
        let into = (now.bus - end).checked_rem(period).unwrap_or(0);
        self.left = self.initial;
        self.since = now.bus - into;
    }
}

/// Whether the timer counts down in a mode.
pub(super) fn counts(mode: TimerMode) -> bool {
    matches!(mode, TimerMode::OneShot | TimerMode::Periodic)
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::TimerMode;
    use proptest::prelude::any;
    use proptest::proptest;

    use super::Expiry;
    use super::Timer;
    use crate::delivery::Deadline;
    use crate::delivery::Moment;

    fn at(bus: u64) -> Moment {
        Moment { bus, tsc: 0 }
    }

    /// Tick by tick, as the hardware does it.
    fn count_by_ticks(initial: u32, shift: u32, periodic: bool, until: u64) -> (u32, u64) {
        let (mut current, mut fired) = (initial, 0);
        for tick in 1..=until {
            if tick % (1 << shift) == 0 && current != 0 {
                current -= 1;
                if current == 0 {
                    fired += 1;
                    current = if periodic { initial } else { 0 };
                }
            }
        }
        (current, fired)
    }

    proptest! {
        #[test]
        fn a_timer_agrees_with_one_that_counts_tick_by_tick(
            initial in 0..40_u32, divide in 0..16_u32, periodic in any::<bool>(), start in 0..1000_u64, looks in proptest::collection::vec(0..700_u64, 1..8)
        ) {
            let mode = if periodic { TimerMode::Periodic } else { TimerMode::OneShot };
            let mut timer = Timer::default();
            timer.set_divide(divide, at(start));
            timer.set_initial(initial, at(start));
            let (mut elapsed, mut fired_before) = (0, 0);
            for look in looks {
                elapsed += look;
                let (current, fired) = count_by_ticks(initial, timer.divide().shift(), periodic, elapsed);
                let due = timer.deadline(mode).is_some_and(|deadline| deadline <= Deadline::Bus(start + elapsed));
                let expiry = timer.advance(mode, at(start + elapsed));
                assert_eq!(expiry == Expiry::Fired, fired > fired_before, "at {elapsed}");
                assert_eq!(expiry == Expiry::Fired, due, "the deadline says when to look");
                assert_eq!(timer.current(at(start + elapsed)), current, "at {elapsed}");
                fired_before = fired;
            }
        }
    }

    impl PartialOrd for Deadline {
        fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
            match (self, other) {
                (Self::Bus(a), Self::Bus(b)) | (Self::Tsc(a), Self::Tsc(b)) => a.partial_cmp(b),
                _ => None,
            }
        }
    }

    #[test]
    fn the_longest_count_does_not_overflow() {
        let mut timer = Timer::default();
        timer.set_divide(0xa, at(u64::MAX - 5));
        timer.set_initial(u32::MAX, at(u64::MAX - 5));
        assert_eq!(timer.deadline(TimerMode::Periodic), Some(Deadline::Bus(u64::MAX)));
        assert_eq!(timer.advance(TimerMode::Periodic, at(u64::MAX)), Expiry::Fired);
        assert_eq!(timer.current(at(0)), u32::MAX, "a clock that goes back stands still");
    }

    #[test]
    fn another_divisor_keeps_the_count() {
        let mut timer = Timer::default();
        timer.set_divide(0xb, at(0));
        timer.set_initial(100, at(0));
        timer.set_divide(0, at(40));
        assert_eq!(timer.current(at(40)), 60);
        assert_eq!(timer.current(at(60)), 50);
        assert_eq!(timer.deadline(TimerMode::OneShot), Some(Deadline::Bus(160)));
    }
}
