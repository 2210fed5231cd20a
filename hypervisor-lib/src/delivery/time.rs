//! The clocks of a local APIC, as numbers.

/// A moment, on both clocks a local APIC counts by. Neither has to begin at zero; neither may go back, and one that does
/// is taken to stand still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Ticks of the clock that the timer divides (the bus or core-crystal clock, SDM vol. 3A, 11.5.4).
    pub bus: u64,
    /// The guest's time-stamp counter.
    pub tsc: u64,
}

/// When a timer has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// At this many ticks of the timer's clock.
    Bus(u64),
    /// At this value of the guest's time-stamp counter.
    Tsc(u64),
}
