//! How far a long computation is, on the standard error where that is a terminal.

use std::cell::Cell;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;

/// Parts into which a run's time is cut for the bar.
const PARTS: u64 = 1000;

/// A bar for runs one after the other.
pub(crate) struct Progress {
    bar: ProgressBar,
    finished: Cell<u64>,
}

impl Progress {
    /// A bar for `count` runs.
    pub(crate) fn of_runs(count: usize) -> Self {
        let bar = ProgressBar::new(count as u64 * PARTS).with_style(style("{msg} {wide_bar} {percent:>3} % {eta}"));
        Self { bar, finished: Cell::new(0) }
    }

    /// Says which run begins.
    pub(crate) fn begin(&self, name: &str) {
        self.bar.set_message(name.to_owned());
    }

    /// Says how far the run is.
    pub(crate) fn at(&self, at: carillon_sim::Progress) {
        let part = u128::from(at.now_ns) * u128::from(PARTS) / u128::from(at.end_ns.max(1));
        self.bar.set_position(self.finished.get() * PARTS + u64::try_from(part).unwrap_or(PARTS).min(PARTS));
    }

    /// Says that the run is over.
    pub(crate) fn done(&self) {
        self.finished.set(self.finished.get() + 1);
        self.bar.set_position(self.finished.get() * PARTS);
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// A bar that counts points.
pub(crate) fn of_points() -> ProgressBar {
    ProgressBar::new(0).with_style(style("{pos}/{len} points {wide_bar} {percent:>3} % {eta}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
