//! The words of the question how to mend a host.

use clap::Args;
use clap::ValueEnum;

use super::HostArgs;
use super::OutputArgs;

/// What to plan.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// What to mend
    #[arg(long, value_enum, default_value_t = Mend::All)]
    pub(crate) mend: Mend,
    /// Whose vectors may change
    #[arg(long, value_enum, default_value_t = MoversName::Anyone)]
    pub(crate) movers: MoversName,
    /// Whose interrupts may be kept to fewer CPUs, by pinning their vCPU or by their affinity
    #[arg(long, value_enum, default_value_t = Whose::Guests)]
    pub(crate) pin: Whose,
    /// Leave every source on its CPU; only its vector may change
    #[arg(long)]
    pub(crate) keep_cpus: bool,
    /// Show the steps of each move
    #[arg(long)]
    pub(crate) steps: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which inversions to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mend {
    /// Every inversion, those a move can bring about among them
    All,
    /// Those that are there as the host stands
    Present,
    /// Retention alone, the only one that lasts longer than a handler
    Retention,
}

/// Whose vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MoversName {
    /// Guests'
    Guests,
    /// Anyone's
    Anyone,
}

/// Whose interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Whose {
    /// Nobody's
    Nobody,
    /// Guests'
    Guests,
    /// Anyone's
    Anyone,
}
