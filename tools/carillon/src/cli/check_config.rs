//! The words of the question whether a guest's devices will work.

use std::path::PathBuf;

use carillon_sim::snapshot::Recorded;
use clap::Args;

use super::OutputArgs;
use super::at_least_one;
use super::host::recorded;

/// Which guest's configuration to check, and for which host.
#[derive(Args, Debug)]
pub(crate) struct CheckConfigArgs {
    /// The configuration, as `xl create` takes it
    #[arg(value_name = "GUEST.CFG")]
    pub(crate) config: PathBuf,
    /// A directory with the host's dumps; without a host, what depends on it is left open
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    pub(crate) from: Option<PathBuf>,
    /// A recorded host that comes with carillon
    #[arg(long, value_name = "NAME", value_parser = recorded())]
    pub(crate) recorded: Option<Recorded>,
    /// This host, as it is now; runs in dom0 as root
    #[arg(long, conflicts_with_all = ["from", "recorded"])]
    pub(crate) live: bool,
    /// Interrupts each passed-through function asks for [default: what the recording shows it to have; else one for each
    /// vCPU and one more for network and storage controllers, and one for others]
    #[arg(long, value_parser = at_least_one())]
    pub(crate) interrupts: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
