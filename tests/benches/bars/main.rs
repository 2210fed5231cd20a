//! The bars: every promise about speed and size, measured and judged. The last lines of `cargo bench` are
//! `BAR <id> <measured> <limit> pass|fail`, and a bar that fails fails the run.
//!
//! The measurement is repeated in fresh processes, because the layout of memory moves ratios by a tenth from one process
//! to the next; a bar is judged by the median. `--quick` takes one process and few rounds.

mod arbiter;
mod floor;
mod harness;
mod hold;
mod host;
mod model;
mod scan;
mod simulator;
mod vectors;
mod walk;

use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

use harness::Bar;
use harness::is_quick;
use harness::median;

/// Fresh processes per measurement.
const PROCESSES: usize = 5;
/// What tells a process that it is one of them.
const WORKER: &str = "--measure";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == WORKER) {
        measure().iter().for_each(|bar| println!("{}", bar.record()));
        return ExitCode::SUCCESS;
    }
    let bars = match is_quick() {
        true => Ok(measure()),
        false => measure_in_fresh_processes(),
    };
    match bars {
        Ok(bars) => {
            bars.iter().for_each(|bar| println!("{bar}"));
            ExitCode::from(u8::from(!bars.iter().all(Bar::passes)))
        }
        Err(error) => {
            eprintln!("bars: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every area's bars, always in the same order.
fn measure() -> Vec<Bar> {
    // Memory first: what an earlier bar has freed would hide what this one takes.
    let areas = [simulator::memory, vectors::measure, simulator::measure];
    areas.into_iter().flat_map(|measure| measure()).collect()
}

/// The bars with the median of each figure over the processes.
fn measure_in_fresh_processes() -> Result<Vec<Bar>, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut runs = Vec::new();
    for process in 1..=PROCESSES {
        eprintln!("bars: process {process} of {PROCESSES}");
        let output = Command::new(&program).arg(WORKER).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("cannot start process {process}: {error}"))?;
        if !output.status.success() {
            return Err(format!("process {process} ended with {}", output.status));
        }
        runs.push(harness::parse(&String::from_utf8_lossy(&output.stdout))?);
    }
    let mut bars = runs.pop().unwrap_or_default();
    for (index, bar) in bars.iter_mut().enumerate() {
        let others = runs.iter().filter_map(|run| run.get(index)).map(|other| other.measured);
        bar.measured = median(others.chain([bar.measured]));
    }
    Ok(bars)
}
