//! The words of what is explained, and of the scenarios that come with it.

use clap::Args;
use clap::Subcommand;

use super::AccessArgs;
use super::MoveArgs;
use super::OutputArgs;
use super::WriteArgs;

/// What to explain.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A vector, a path, a term, `paths`, `costs` or `dumps`; a list of what there is if left out
    pub(crate) what: Vec<String>,
    #[command(subcommand)]
    pub(crate) query: Option<ExplainQuery>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A question with words of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum ExplainQuery {
    /// What becomes of a guest's write of a register of its local APIC
    ApicWrite(WriteArgs),
    /// What becomes of a read
    ApicRead(AccessArgs),
    /// What is written, in which order and why, when a vCPU moves to another physical CPU
    Move(MoveArgs),
}

/// Which scenario.
#[derive(Args, Debug)]
pub(crate) struct ScenariosArgs {
    /// The scenario to print; a list if left out
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
