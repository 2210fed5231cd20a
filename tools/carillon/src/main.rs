//! See, plan and simulate which interrupt outranks which on a Xen host.
#![forbid(unsafe_code)]

mod advice;
mod apply;
mod capacity;
mod check_config;
mod cli;
mod comparison;
mod explain;
mod explain_access;
mod explain_move;
mod failure;
mod generated;
mod guest;
mod harm;
mod hosts;
mod inspect;
mod live;
mod main_job;
mod moved;
mod output;
mod page;
mod plan;
mod progress;
mod quantity;
mod scenarios;
mod simulate;
mod simulate_ipi;
mod simulate_move;
mod subject;
mod sweep;
mod top;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use cli::Command;
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::in_order(std::env::args_os()));
    let out = Output::new(cli.color);
    let done = match &cli.command {
        None => main_job::run(out),
        Some(Command::Inspect(args)) => inspect::run(args, out),
        Some(Command::Record(args)) => live::record(args, out),
        Some(Command::Top(args)) => top::run(args, out),
        Some(Command::Plan(args)) => plan::run(args, out),
        Some(Command::Apply(args)) => apply::run(args, out),
        Some(Command::Watch(args)) => watch::run(args),
        Some(Command::Capacity(args)) => capacity::run(args, out),
        Some(Command::CheckConfig(args)) => check_config::run(args, out),
        Some(Command::Simulate(args)) => simulate::run(args, out),
        Some(Command::Sweep(args)) => sweep::run(args, out),
        Some(Command::Explain(args)) => explain::run(args, out),
        Some(Command::Scenarios(args)) => scenarios::run(args, out),
        Some(Command::Completions { shell }) => generated::completions(*shell),
        Some(Command::Man { directory }) => generated::manual(directory),
    };
    done.map_or_else(|failure| failure.report(), |verdict| verdict.code())
}
