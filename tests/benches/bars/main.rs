//! The bars: every promise about speed and size, measured and judged. The last lines of `cargo bench` are
//! `BAR <id> <measured> <limit> pass|fail`, and a bar that fails fails the run.
//!
//! The measurement is repeated in fresh processes, because the layout of memory moves ratios by a tenth from one process
//! to the next; a bar is judged by the median. Each area has processes of its own: what another has freed would hide what
//! it takes, and decide where that lies. `--quick` measures once, in few rounds.

mod arbiter;
mod delivery;
mod eoi_exit;
mod events;
mod floor;
mod harness;
mod hold;
mod host;
mod local_apic;
mod lookup;
mod model;
mod scan;
mod simulator;
mod vectors;
mod walk;

use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

use harness::Bar;
use harness::QUICK;
use harness::is_quick;
use harness::median;

/// Fresh processes per area.
const PROCESSES: usize = 5;
/// What tells a process that it is one of them, followed by its area.
const WORKER: &str = "--measure";

/// The areas, in the order of their bars.
const AREAS: [Area; 6] = [
    Area { name: "vectors", measure: vectors::measure },
    Area { name: "events", measure: events::measure },
    Area { name: "event-memory", measure: events::measure_memory },
    Area { name: "delivery", measure: delivery::measure },
    Area { name: "memory", measure: simulator::memory },
    Area { name: "simulator", measure: simulator::measure },
];

/// Bars that are measured in one process.
struct Area {
    name: &'static str,
    measure: fn() -> Vec<Bar>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip_while(|argument| argument != WORKER).skip(1);
    let outcome = match arguments.next() {
        Some(area) => measure(&area).map(|bars| {
            bars.iter().for_each(|bar| println!("{}", bar.record()));
            ExitCode::SUCCESS
        }),
        None => measure_in_fresh_processes().map(|bars| {
            bars.iter().for_each(|bar| println!("{bar}"));
            ExitCode::from(u8::from(!bars.iter().all(Bar::passes)))
        }),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bars: {error}");
        ExitCode::FAILURE
    })
}

fn measure(name: &str) -> Result<Vec<Bar>, String> {
    let area = AREAS.iter().find(|area| area.name == name);
    area.map(|area| (area.measure)()).ok_or_else(|| format!("no area of bars is called {name:?}"))
}

/// Every area's bars, with the median of each figure over the processes.
fn measure_in_fresh_processes() -> Result<Vec<Bar>, String> {
    let processes = if is_quick() { 1 } else { PROCESSES };
    let mut bars = Vec::new();
    for area in &AREAS {
        let mut runs = Vec::new();
        for process in 1..=processes {
            eprintln!("bars: {}, process {process} of {processes}", area.name);
            runs.push(measure_apart(area)?);
        }
        bars.extend(medians(runs));
    }
    Ok(bars)
}

/// One area's bars, measured in a fresh process.
fn measure_apart(area: &Area) -> Result<Vec<Bar>, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let quick = is_quick().then_some(QUICK);
    let output = Command::new(program).args(quick).args([WORKER, area.name]).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot start a process for {}: {error}", area.name))?;
    if !output.status.success() {
        return Err(format!("the process for {} ended with {}", area.name, output.status));
    }
    harness::parse(&String::from_utf8_lossy(&output.stdout))
}

/// The bars of one run with the median of each figure over all.
fn medians(mut runs: Vec<Vec<Bar>>) -> Vec<Bar> {
    let mut bars = runs.pop().unwrap_or_default();
    for (index, bar) in bars.iter_mut().enumerate() {
        let others = runs.iter().filter_map(|run| run.get(index)).map(|other| other.measured);
        bar.measured = median(others.chain([bar.measured]));
    }
    bars
}
