//! What is simulated: a scenario, or a recorded host as one.

use carillon_sim::snapshot::Harms;
use std::num::NonZeroU32;
use std::path::Path;

use carillon_sim::Replayed;
use carillon_sim::Scenario;
use carillon_sim::Shipped;
use carillon_sim::snapshot::HostSnapshot;

use crate::cli::SubjectArgs;
use crate::failure::Failure;
use crate::hosts;

/// Something to simulate.
#[derive(Debug)]
pub(crate) struct Subject {
    /// How it is run.
    pub(crate) scenario: Scenario,
    /// What is wrong with it as it stands.
    pub(crate) harms: Harms,
}

impl Subject {
    /// A recorded host, played back.
    pub(crate) fn recorded(host: &HostSnapshot, replayed: Replayed) -> Result<Self, Failure> {
        let activity = host.activity().map_err(|error| Failure::caused(&error))?;
        Ok(Self { scenario: replayed.scenario(host, &activity), harms: Harms::of(&host.assignment()) })
    }

    fn written(scenario: Scenario) -> Result<Self, Failure> {
        let assignment = scenario.assignment();
        let assignment = assignment.map_err(|fault| Failure::new(format!("{}: {fault}", scenario.name)))?;
        Ok(Self { harms: Harms::of(&assignment), scenario })
    }
}

/// What the command line asks for, with what it changes.
pub(crate) fn load(args: &SubjectArgs) -> Result<Vec<Subject>, Failure> {
    let mut subjects = match &args.scenario {
        Some(name) => vec![Subject::written(scenario(name)?)?],
        None => {
            let replayed = Replayed { speedup: speedup(args), ..Replayed::default() };
            let hosts = hosts::load(&args.host)?;
            hosts.iter().map(|host| Subject::recorded(host, replayed)).collect::<Result<_, _>>()?
        }
    };
    for Subject { scenario, .. } in &mut subjects {
        if let Some(ns) = args.duration_ns {
            scenario.duration_ms = ns as f64 / 1e6;
        }
        scenario.costs_ns.extend(args.cost.iter().cloned());
    }
    Ok(subjects)
}

/// A host of the user's is as fast as it was.
fn speedup(args: &SubjectArgs) -> NonZeroU32 {
    let usual = if args.host.from.is_some() || args.host.live { NonZeroU32::MIN } else { Replayed::default().speedup };
    args.speed.unwrap_or(usual)
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
