//! The words of the question how to mend a host.

use clap::Args;
use clap::ValueEnum;
use vector_allocator::Goal;
use vector_allocator::Harms;
use vector_allocator::Movers;
use vector_allocator::Pinning;
use vector_allocator::Retarget;

use super::HostArgs;
use super::OutputArgs;

/// What to plan.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) goal: GoalArgs,
    /// Show the steps of each move
    #[arg(long)]
    pub(crate) steps: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

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

/// Which inversions to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mend {
    /// Every inversion, those a move can bring about among them
    All,
    /// Those that are there as the host stands
    Present,
    /// Retention alone, the only one that lasts longer than a handler
    Retention,
}

/// Whose vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MoversName {
    /// Guests'
    Guests,
    /// Anyone's
    Anyone,
}

/// Whose interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// Nobody's
    Nobody,
    /// Guests'
    Guests,
    /// Anyone's
    Anyone,
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
