//! The words of `carillon apply`.

use std::path::PathBuf;

use clap::Args;

use super::GoalArgs;
use super::OutputArgs;
use super::RecordingArgs;
use crate::quantity;

/// What to carry out.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// Do it; without this word it is only said what would be done
    #[arg(long, conflicts_with_all = ["from", "recorded"])]
    pub(crate) execute: bool,
    /// Only say what would be done, as without a word
    #[arg(long, conflicts_with = "execute")]
    pub(crate) dry_run: bool,
    /// Allow to detach a device of a guest's and attach it again, which interrupts its traffic, without being asked
    #[arg(long)]
    pub(crate) interrupt_traffic: bool,
    #[command(flatten)]
    pub(crate) goal: GoalArgs,
    /// How long to listen which interrupts come, since Xen moves none that does not: 1s, 10s
    #[arg(long = "listen", value_name = "TIME", default_value = "1s", value_parser = quantity::parse)]
    pub(crate) listen_ns: u64,
    /// Append what is done to a file, a line of JSON for each change
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) instead: RecordingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
