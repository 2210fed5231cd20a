//! The words of questions about a vCPU's move.

use carillon_sim::moving::MOST_CPUS;
use carillon_sim::moving::MoveEngine;
use carillon_sim::moving::Sender;
use clap::Args;
use clap::ValueEnum;
use clap::builder::TypedValueParser;

use super::OutputArgs;
use super::one_of;

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

/// Which move to carry out, and what happens meanwhile.
#[derive(Args, Debug)]
pub(crate) struct SimulateMoveArgs {
    /// How the vCPU gets its interrupts
    #[arg(long, value_parser = move_engine(), default_value = MoveEngine::Posted.name())]
    pub(crate) engine: MoveEngine,
    /// The CPU it runs on
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..i64::from(MOST_CPUS)))]
    pub(crate) from: u32,
    /// The CPU it moves to
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..i64::from(MOST_CPUS)))]
    pub(crate) to: u32,
    /// How many interrupts of a device follow it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=128))]
    pub(crate) interrupts: u16,
    /// Interrupt the vCPU before this step; 0 while it still runs on its old CPU, and after the last step's number come the
    /// moment before it is entered and the one while it runs on its new CPU [default: half of the moments, by the seed]
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub(crate) interrupt_at: Vec<usize>,
    /// Interrupt it before every step, and before and after them
    #[arg(long, conflicts_with = "interrupt_at")]
    pub(crate) every_step: bool,
    /// Who interrupts it
    #[arg(long, value_enum, default_value_t = SenderName::All)]
    pub(crate) sender: SenderName,
    /// Let this step fail, and go back
    #[arg(long, value_name = "STEP")]
    pub(crate) fail_at: Option<usize>,
    /// Leave this step out, and see what it is for
    #[arg(long, value_name = "STEP", conflicts_with = "fail_at")]
    pub(crate) without: Option<usize>,
    /// Seed of when who interrupts
    #[arg(long, default_value_t = 1, conflicts_with_all = ["interrupt_at", "every_step"])]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Who interrupts a vCPU that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SenderName {
    /// The device and the other vCPU
    All,
    /// The device, by each of its interrupts
    Device,
    /// The other vCPU, by an IPI
    Vcpu,
}

impl SenderName {
    /// Whether it names a sender.
    pub(crate) const fn is_meant(self, sender: Sender) -> bool {
        matches!((self, sender), (Self::All, _) | (Self::Device, Sender::Device(_)) | (Self::Vcpu, Sender::Vcpu))
    }
}

fn move_engine() -> impl TypedValueParser<Value = MoveEngine> {
    one_of(MoveEngine::ALL.map(|engine| (engine.name(), engine)))
}
