//! The words of the command line.

mod apic;
mod apply;
mod capacity;
mod check_config;
mod explain;
mod host;
mod moving;
mod plan;
mod simulate;
mod watch;
mod word_order;

use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

pub(crate) use apic::AccessArgs;
pub(crate) use apic::IpiArgs;
pub(crate) use apic::WriteArgs;
pub(crate) use apply::ApplyArgs;
pub(crate) use capacity::ArrivalName;
pub(crate) use capacity::CapacityArgs;
pub(crate) use capacity::Destination;
pub(crate) use capacity::LayoutName;
pub(crate) use capacity::MsiBits;
pub(crate) use capacity::SignalName;
pub(crate) use check_config::CheckConfigArgs;
pub(crate) use explain::ExplainArgs;
pub(crate) use explain::ExplainQuery;
pub(crate) use explain::ScenariosArgs;
pub(crate) use host::HostArgs;
pub(crate) use host::InspectArgs;
pub(crate) use host::RecordArgs;
pub(crate) use host::RecordingArgs;
pub(crate) use host::TopArgs;
pub(crate) use moving::MoveArgs;
pub(crate) use moving::SimulateMoveArgs;
pub(crate) use plan::GoalArgs;
pub(crate) use plan::PlanArgs;
pub(crate) use simulate::Engines;
pub(crate) use simulate::OtherSimulation;
pub(crate) use simulate::SimulateArgs;
pub(crate) use simulate::SubjectArgs;
pub(crate) use simulate::SweepArgs;
pub(crate) use watch::WatchArgs;
pub(crate) use word_order::in_order;

use crate::output::Format;

/// See, plan and simulate which interrupt outranks which on a Xen host.
///
/// Without a command it does the main job on two recorded hosts that come with it: who owns which vector on which CPU,
/// where a guest outranks dom0 or can hold it back, the smallest set of moves that mends it, and both simulated.
#[derive(Debug, Parser)]
#[command(name = "carillon", version, max_term_width = 120, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do; the main job if left out
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the input could not be read or does not make sense; the message says what and where
  2  the command line is wrong
  3  done, and the answer is no: `inspect` found inversions, `plan` leaves some it was to mend, `capacity` does not fit,
     `check-config` found what stands in a device's way, `apply` refuses
  4  `apply` took back what it had changed
  5  `apply` has nothing to do";

const APPLY_CODES: &str = "Exit codes: 0 done (or can be), 3 refused, 4 taken back, 5 nothing to do, 1 bad input or the host failed, 2 \
                           bad command line";

const ANSWER_CODES: &str =
    "Exit codes: 0 the answer is yes, 3 it is no, 1 bad input, 2 bad command line; see carillon --help";

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who owns which vector on which CPU, and where a guest outranks dom0 or can hold it back
    #[command(after_long_help = ANSWER_CODES)]
    Inspect(InspectArgs),
    /// Write what this host says of its interrupts into a directory, for --from; runs in dom0 as root
    Record(RecordArgs),
    /// Show how often each interrupt and each of dom0's events comes, now (in dom0 as root) or in a recording
    Top(TopArgs),
    /// Find the smallest set of moves after which no guest outranks dom0 or can hold it back
    #[command(after_long_help = ANSWER_CODES)]
    Plan(PlanArgs),
    /// Carry a plan out on this host, each step predicted, read back and taken back if need be; without --execute, say what
    /// would be done; runs in dom0 as root
    #[command(after_long_help = APPLY_CODES)]
    Apply(ApplyArgs),
    /// Keep this host in order: look again and again, and mend what migrations and new devices break; without --execute, say
    /// what would be done; runs in dom0 as root
    Watch(WatchArgs),
    /// Say whether a number of devices fits, and which limit binds
    #[command(after_long_help = ANSWER_CODES)]
    Capacity(CapacityArgs),
    /// Say which path each device of a guest's xl configuration takes, whether its interrupts fit, and what to change
    #[command(after_long_help = ANSWER_CODES)]
    CheckConfig(CheckConfigArgs),
    /// Simulate a scenario or a recorded host, and compare policies and delivery paths; or what an IPI costs (simulate ipi), or
    /// a vCPU's move (simulate move)
    #[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
    Simulate(SimulateArgs),
    /// Simulate every combination of policies, delivery paths, loads and seeds; goes on where it stopped
    Sweep(SweepArgs),
    /// Explain a vector (0xd8), a delivery path (posted), a term (PPR), an access to an APIC register (apic-write 300), or a
    /// vCPU's move (move --from 0 --to 3)
    #[command(disable_help_subcommand = true)]
    Explain(ExplainArgs),
    /// List the scenarios that come with it, or print one of them as a file to start from
    Scenarios(ScenariosArgs),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Where to; made if it is not there
        directory: PathBuf,
    },
}

/// How to print.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// The same, or JSON if `other` asks for it.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self { json: self.json || other.json }
    }

    /// For whom the answer is.
    pub(crate) const fn format(self) -> Format {
        if self.json { Format::Json } else { Format::Page }
    }
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

/// A parser of names that stand for values.
fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    named: [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let value_of = move |name: String| named.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    PossibleValuesParser::new(named.map(|(name, _)| name))
        .try_map(move |name| value_of(name).ok_or_else(|| std::io::Error::other("no such name")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::Parser as _;

    use super::Cli;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_name_of_a_policy_a_path_and_a_recording_is_understood() {
        let policies = "--policy=recorded,xen-cursor,spread,below-dom0,planned";
        let paths = "--path=as-is,event,remapped,posted";
        for recorded in ["--recorded=xen-sas-nic", "--recorded=xen-sas-intx"] {
            assert!(Cli::try_parse_from(["carillon", "simulate", recorded, policies, paths]).is_ok());
        }
        assert!(Cli::try_parse_from(["carillon", "simulate", "--policy=best"]).is_err());
    }
}
