//! Virtual time: nanoseconds since the machine started.

use core::fmt;
use core::ops::Add;
use core::ops::Sub;

/// A point in virtual time, ns since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// A span of virtual time, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Add<Span> for Time {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Time {
    type Output = Span;

    /// The span from `earlier` to `self`; zero if `earlier` is the later one.
    fn sub(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// Both spans together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "{} ns", self.0),
            1_000..1_000_000 => write!(f, "{}.{:02} µs", self.0 / 1_000, self.0 % 1_000 / 10),
            1_000_000..1_000_000_000 => write!(f, "{}.{:02} ms", self.0 / 1_000_000, self.0 % 1_000_000 / 10_000),
            _ => write!(f, "{}.{:02} s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 10_000_000),
        }
    }
}
