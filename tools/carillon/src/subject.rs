//! What is simulated: a scenario, or a recorded host as one.

use std::path::Path;

use carillon_sim::Replayed;
use carillon_sim::Scenario;
use carillon_sim::Shipped;

use crate::cli::SubjectArgs;
use crate::failure::Failure;
use crate::hosts;

/// The scenarios asked for, with what the command line changes.
pub(crate) fn load(args: &SubjectArgs) -> Result<Vec<Scenario>, Failure> {
    let mut scenarios = match &args.scenario {
        Some(name) => vec![scenario(name)?],
        None => recorded(args)?,
    };
    for scenario in &mut scenarios {
        if let Some(ns) = args.duration_ns {
            scenario.duration_ms = ns as f64 / 1e6;
        }
        scenario.costs_ns.extend(args.cost.iter().cloned());
    }
    Ok(scenarios)
}

/// A shipped scenario, or one from a file.
fn scenario(name: &str) -> Result<Scenario, Failure> {
    if let Some(shipped) = Shipped::named(name) {
        return shipped.scenario().map_err(|error| Failure::caused(&error));
    }
    if !Path::new(name).exists() {
        return Err(Failure::new(format!("there is no scenario '{name}', and no such file"))
            .hint("`carillon scenarios` lists those that come with it"));
    }
    Scenario::read(Path::new(name)).map_err(|error| Failure::caused(&error))
}

fn recorded(args: &SubjectArgs) -> Result<Vec<Scenario>, Failure> {
    let replay = |host: &carillon_sim::snapshot::HostSnapshot| {
        let activity = host.activity().map_err(|error| Failure::caused(&error))?;
        Ok(Replayed::default().scenario(host, &activity))
    };
    hosts::load(&args.host)?.iter().map(replay).collect()
}
