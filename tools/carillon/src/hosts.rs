//! Which hosts a command is about.

use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::Recorded;

use crate::cli::HostArgs;
use crate::failure::Failure;
use crate::live;

/// The hosts asked for; without a word, all that come with the program.
pub(crate) fn load(which: &HostArgs) -> Result<Vec<HostSnapshot>, Failure> {
    if which.live {
        return Ok(vec![live::host()?]);
    }
    if let Some(directory) = &which.from {
        if !directory.is_dir() {
            let what = if directory.exists() { "is not a directory" } else { "is not there" };
            return Err(Failure::new(format!("{} {what}", directory.display()))
                .hint("expected a directory with a host's dumps; `carillon explain dumps` says how it is recorded"));
        }
        let host = HostSnapshot::load(directory)
            .map_err(|error| Failure::caused(&error).hint("`carillon explain dumps` says how a host is recorded"))?;
        return Ok(vec![host]);
    }
    let recorded = which.recorded.map_or_else(|| Recorded::ALL.to_vec(), |recorded| vec![recorded]);
    recorded
        .into_iter()
        .map(|recorded| HostSnapshot::recorded(recorded).map_err(|error| Failure::caused(&error)))
        .collect()
}
