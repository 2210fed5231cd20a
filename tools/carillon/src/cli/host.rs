//! Which host, and the questions that only look at it.

use std::path::PathBuf;

use carillon_sim::snapshot::Recorded;
use clap::Args;
use clap::builder::TypedValueParser;

use super::OutputArgs;
use super::one_of;
use crate::quantity;

/// Which host.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// A directory with a host's dumps (dump-i.txt and what else there is); `carillon explain dumps` says how to make it
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    pub(crate) from: Option<PathBuf>,
    /// A recorded host that comes with carillon [default: all of them]
    #[arg(long, value_name = "NAME", value_parser = recorded())]
    pub(crate) recorded: Option<Recorded>,
    /// This host, as it is now; runs in dom0 as root
    #[arg(long, conflicts_with_all = ["from", "recorded"])]
    pub(crate) live: bool,
}

/// What to inspect.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where to record to.
#[derive(Args, Debug)]
pub(crate) struct RecordArgs {
    /// The directory; made if it is not there, and refused if it is not empty
    pub(crate) directory: PathBuf,
    /// How long to trace: 500ms, 4s
    #[arg(long = "for", value_name = "TIME", default_value = "4s", value_parser = quantity::parse)]
    pub(crate) duration_ns: u64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What to count, and how to show it.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Print once and end
    #[arg(long, conflicts_with = "batch")]
    pub(crate) once: bool,
    /// Print so many times and end
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<std::num::NonZeroU32>,
    /// How long to count each time: 500ms, 2s
    #[arg(long = "interval", value_name = "TIME", default_value = "1s", value_parser = quantity::parse)]
    pub(crate) interval_ns: u64,
    #[command(flatten)]
    pub(crate) instead: RecordingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A recording that is taken instead of this host.
#[derive(Args, Debug)]
pub(crate) struct RecordingArgs {
    /// A directory with a host's recording, instead of this host
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    from: Option<PathBuf>,
    /// A recorded host that comes with carillon, instead of this host
    #[arg(long, value_name = "NAME", value_parser = recorded())]
    recorded: Option<Recorded>,
}

impl RecordingArgs {
    /// The recording asked for; none for this host.
    pub(crate) fn host(&self) -> Option<HostArgs> {
        let is_asked_for = self.from.is_some() || self.recorded.is_some();
        is_asked_for.then(|| HostArgs { from: self.from.clone(), recorded: self.recorded, live: false })
    }
}

pub(super) fn recorded() -> impl TypedValueParser<Value = Recorded> {
    one_of(Recorded::ALL.map(|recorded| (recorded.name(), recorded)))
}
