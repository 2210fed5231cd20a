//! The checks, and what became of them.

mod accesses;
mod batches;
mod deviations;
mod entries;
mod guests;

use core::fmt;

pub(crate) use self::guests::Posting;
pub(crate) use self::guests::Reach;
use crate::cpu::Capabilities;
use crate::driven;
use crate::println;
use crate::random::Seed;

/// How many checks passed and failed.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u32,
    failed: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "end: {} checks passed, {} failed", self.passed, self.failed)
    }
}

/// Why a check failed.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// Model and CPU differ in this round; how, is printed above.
    Differs { round: u32 },
    /// The guest saw other things under an engine of the CPU's than under the software engine; what, is printed above.
    Sees { round: u32 },
    /// The check itself says what is wrong.
    Wrong(&'static str),
}

impl Tally {
    /// Counts a check and prints its line.
    pub(crate) fn record(&mut self, check: fmt::Arguments<'_>, result: Result<(), Failure>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {check}");
            }
            Err(failure) => {
                self.failed += 1;
                println!("FAIL {check}: {failure}");
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { round } => write!(f, "model and CPU differ in round {round}"),
            Self::Sees { round } => write!(f, "the guest is served differently in round {round}"),
            Self::Wrong(what) => write!(f, "{what}"),
        }
    }
}

/// Runs all checks.
pub(crate) fn run(seed: Seed, capabilities: &Capabilities) -> Tally {
    let mut tally = Tally::default();
    accesses::run(seed, capabilities, &mut tally);
    entries::run(seed, capabilities, &mut tally);
    batches::run(seed, capabilities, &mut tally);
    deviations::run(capabilities, &mut tally);
    driven::run(seed, capabilities, &mut tally);
    tally
}
