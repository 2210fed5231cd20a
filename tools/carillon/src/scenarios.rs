//! `carillon scenarios`: what comes with it, to run or to start from.

use carillon_sim::Shipped;
use serde::Serialize;

use crate::cli::ScenariosArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output;
use crate::output::Answer;
use crate::output::Format;
use crate::output::Output;
use crate::page::Page;

/// The scenarios that come with it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Scenarios(Vec<Entry>);

/// One of them.
#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    about: String,
    path: &'static str,
    cpus: u32,
    duration_ms: f64,
}

/// Lists them, or prints one as a file.
pub(crate) fn run(args: &ScenariosArgs, out: Output) -> Result<Verdict, Failure> {
    let Some(name) = &args.name else {
        out.print(&Scenarios(entries()?), args.output.format())?;
        return Ok(Verdict::Fine);
    };
    let shipped = Shipped::named(name).ok_or_else(|| {
        Failure::new(format!("there is no scenario '{name}'")).hint("`carillon scenarios` lists those there are")
    })?;
    match args.output.format() {
        Format::Page => output::write(shipped.text().as_bytes())?,
        Format::Json => {
            let scenario = shipped.scenario().map_err(|error| Failure::caused(&error))?;
            let text = serde_json::to_string_pretty(&scenario).map_err(Failure::new)? + "\n";
            output::write(text.as_bytes())?;
        }
    }
    Ok(Verdict::Fine)
}

fn entries() -> Result<Vec<Entry>, Failure> {
    let entry = |shipped: Shipped| {
        let scenario = shipped.scenario().map_err(|error| Failure::caused(&error))?;
        Ok(Entry {
            name: shipped.name(),
            about: scenario.about,
            path: scenario.path.name(),
            cpus: scenario.host.cpus,
            duration_ms: scenario.duration_ms,
        })
    };
    Shipped::ALL.into_iter().map(entry).collect()
}

impl Answer for Scenarios {
    fn show(&self, page: &mut Page) {
        let rows = self.0.iter().map(|entry| {
            vec![
                entry.name.into(),
                entry.path.into(),
                entry.cpus.to_string().into(),
                format!("{} ms", entry.duration_ms).into(),
                entry.about.clone().into(),
            ]
        });
        page.table(&["scenario", "path", "pCPUs", "time", "about"], rows.collect());
    }
}
