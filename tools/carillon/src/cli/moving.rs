//! The words of questions about a vCPU's move.

use clap::Args;
use clap::builder::TypedValueParser;

use super::OutputArgs;
use super::one_of;
use crate::explain_move::MoveEngine;

/// Which move.
#[derive(Args, Debug)]
pub(crate) struct MoveArgs {
    /// How the vCPU gets its interrupts
    #[arg(long, value_parser = move_engine(), default_value = MoveEngine::Posted.name())]
    pub(crate) engine: MoveEngine,
    /// The CPU it runs on
    #[arg(long, default_value_t = 0)]
    pub(crate) from: u32,
    /// The CPU it moves to
    #[arg(long, default_value_t = 3)]
    pub(crate) to: u32,
    /// How many interrupts of a device follow it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=128))]
    pub(crate) interrupts: u16,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn move_engine() -> impl TypedValueParser<Value = MoveEngine> {
    one_of(MoveEngine::ALL.map(|engine| (engine.name(), engine)))
}
