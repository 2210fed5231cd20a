//! The words of `carillon watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vector_allocator::aim::Pace;

use super::GoalArgs;
use super::OutputArgs;
use crate::quantity;
use crate::watch::End;
use crate::watch::Mode;
use crate::watch::Task;

/// The shortest time from one look to the next.
const SHORTEST: Duration = Duration::from_secs(1);

/// What to watch for.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// Mend what is to be mended; without this word it is only said what would be done
    #[arg(long)]
    execute: bool,
    /// Only say what would be done, as without a word
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Look once, do what is to be done, and end
    #[arg(long)]
    once: bool,
    /// From one look to the next, at least a second: 10s, 1m
    #[arg(long = "interval", value_name = "TIME", default_value = "10s", value_parser = quantity::parse)]
    interval_ns: u64,
    /// The most moves a minute
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    moves_per_minute: u32,
    #[command(flatten)]
    goal: GoalArgs,
    /// How long to listen which interrupts come before anything is moved: 1s, 10s
    #[arg(long = "listen", value_name = "TIME", default_value = "1s", value_parser = quantity::parse)]
    pub(crate) listen_ns: u64,
    /// Append what is seen and done to a file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl WatchArgs {
    /// What is to be done.
    pub(crate) fn task(&self) -> Task {
        Task {
            goal: self.goal.goal(),
            pace: Pace {
                interval: Duration::from_nanos(self.interval_ns).max(SHORTEST),
                deeds: self.moves_per_minute,
                ..Pace::default()
            },
            mode: if self.execute { Mode::Execute } else { Mode::Say },
            end: if self.once { End::FirstLook } else { End::Stopped },
        }
    }
}
