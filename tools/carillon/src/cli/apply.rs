//! The words of `carillon apply`, and of what is to be reached.

use std::path::PathBuf;

use carillon_sim::snapshot::Recorded;
use clap::Args;
use vector_allocator::Goal;
use vector_allocator::Harms;
use vector_allocator::Movers;
use vector_allocator::Pinning;
use vector_allocator::Retarget;

use super::HostArgs;
use super::Mend;
use super::MoversName;
use super::OutputArgs;
use super::Whose;
use super::recorded;
use crate::quantity;

/// What is to be reached.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct GoalArgs {
    /// What to mend
    #[arg(long, value_enum, default_value_t = Mend::All)]
    mend: Mend,
    /// Whose vectors may change
    #[arg(long, value_enum, default_value_t = MoversName::Anyone)]
    movers: MoversName,
    /// Whose interrupts may be kept to fewer CPUs, by pinning their vCPU or by their affinity
    #[arg(long, value_enum, default_value_t = Whose::Guests)]
    pin: Whose,
    /// Leave every source on its CPU; only its vector may change
    #[arg(long)]
    keep_cpus: bool,
}

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
    /// Say what would be done to a recorded host: a directory with its dumps
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    pub(crate) from: Option<PathBuf>,
    /// Say what would be done to a recorded host that comes with carillon
    #[arg(long, value_name = "NAME", value_parser = recorded())]
    pub(crate) recorded: Option<Recorded>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl GoalArgs {
    /// The goal.
    pub(crate) const fn goal(self) -> Goal {
        Goal {
            mend: match self.mend {
                Mend::All => Harms::All,
                Mend::Present => Harms::Present,
                Mend::Retention => Harms::Retention,
            },
            movers: match self.movers {
                MoversName::Anyone => Movers::Anyone,
                MoversName::Guests => Movers::GuestsOnly,
            },
            retarget: if self.keep_cpus { Retarget::Forbidden } else { Retarget::Allowed },
            pin: match self.pin {
                Whose::Nobody => Pinning::Forbidden,
                Whose::Guests => Pinning::GuestsOnly,
                Whose::Anyone => Pinning::Anyone,
            },
        }
    }
}

impl ApplyArgs {
    /// The recording asked for.
    pub(crate) fn host(&self) -> HostArgs {
        HostArgs { from: self.from.clone(), recorded: self.recorded, live: false }
    }
}
