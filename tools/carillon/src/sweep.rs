//! `carillon sweep`: every combination of policies, delivery paths, loads and seeds, on every CPU or many machines.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use carillon_sim::DevicePath;
use carillon_sim::SourceResult;
use carillon_sim::VectorPolicy;
use carillon_sim::report::format;
use carillon_sim::sweep;
use carillon_sim::sweep::Outcome;
use carillon_sim::sweep::Record;
use carillon_sim::sweep::Shard;
use carillon_sim::sweep::Sweep;
use serde::Serialize;

use crate::cli::SweepArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::OutFile;
use crate::output::Output;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;
use crate::progress;
use crate::subject;
use crate::subject::Subject;

/// The most points a page shows.
const SHOWN: usize = 60;

/// What came of a sweep.
#[derive(Debug, Serialize)]
struct Swept {
    scenario: String,
    shard: String,
    file: PathBuf,
    points: Vec<PointRow>,
}

/// One point in figures.
#[derive(Debug, Serialize)]
struct PointRow {
    policy: &'static str,
    path: &'static str,
    load: f64,
    seed: u64,
    #[serde(flatten)]
    outcome: Figures,
}

/// What came of a point.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Figures {
    /// It ran.
    Ran {
        /// Dom0's waits for guests' interrupts.
        dom0_waited_times: u64,
        dom0_waited_ns: u64,
        dom0_waited_longest_ns: u64,
        /// The worst of dom0's sources.
        dom0_p99_ns: u64,
        /// The worst of guests' sources.
        guests_p99_ns: u64,
        trace_hash: String,
    },
    /// It cannot be.
    Impossible(String),
}

/// Sweeps as the command line asks for.
pub(crate) fn run(args: &SweepArgs, out: Output) -> Result<Verdict, Failure> {
    let mut subjects = subject::load(&args.subject)?;
    let (Some(Subject { scenario, .. }), true) = (subjects.pop(), subjects.is_empty()) else {
        return Err(Failure::new("a sweep is of one scenario or host")
            .hint("name a scenario, or choose a host with --recorded NAME or --from DIR"));
    };
    let sweep = Sweep {
        scenario,
        policies: or_all(&args.policy, &VectorPolicy::ALL),
        paths: or_all(&args.path, &DevicePath::ALL),
        loads: args.load.clone(),
        seeds: args.seed.clone(),
    };
    let workers = args.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let table = args.csv.as_deref().map(OutFile::create).transpose()?;
    let bar = progress::of_points();
    let records = sweep
        .run(args.shard, workers, &args.out, |at| {
            bar.set_length(at.total as u64);
            bar.set_position(at.done as u64);
        })
        .map_err(|error| Failure::caused(&error))?;
    bar.finish_and_clear();
    if let Some(file) = table {
        file.write(|out| out.write_all(csv(args.shard, &records).as_bytes()))?;
    }
    let swept = Swept {
        scenario: sweep.scenario.name.clone(),
        shard: args.shard.to_string(),
        file: args.out.clone(),
        points: records.iter().map(PointRow::of).collect(),
    };
    out.print(&swept, args.output.format())?;
    Ok(Verdict::Fine)
}

fn or_all<T: Clone>(asked: &[T], all: &[T]) -> Vec<T> {
    if asked.is_empty() { all.to_vec() } else { asked.to_vec() }
}

/// The shard's table: with a header if it is the first, so that the tables concatenate.
fn csv(shard: Shard, records: &[Record]) -> String {
    let mut table = String::new();
    if shard.is_first() {
        table.push_str(sweep::HEADER);
    }
    for record in records {
        if let Outcome::Result(result) = &record.outcome {
            table.push_str(&sweep::rows(result));
        }
    }
    table
}

impl PointRow {
    fn of(record: &Record) -> Self {
        let outcome = match &record.outcome {
            Outcome::Fault(why) => Figures::Impossible(why.clone()),
            Outcome::Result(result) => {
                let p99 = |is_of: fn(&SourceResult) -> bool| {
                    let sources = result.sources.iter().filter(|source| is_of(source));
                    sources.map(|source| source.latency.p99_ns).max().unwrap_or(0)
                };
                let waits = result.waits();
                Figures::Ran {
                    dom0_waited_times: waits.times,
                    dom0_waited_ns: waits.total_ns,
                    dom0_waited_longest_ns: waits.longest_ns,
                    dom0_p99_ns: p99(SourceResult::is_dom0s),
                    guests_p99_ns: p99(SourceResult::is_guests),
                    trace_hash: format!("{:016x}", result.trace_hash),
                }
            }
        };
        let point = &record.point;
        Self { policy: point.policy.name(), path: point.path.name(), load: point.load, seed: point.seed, outcome }
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut row: Vec<Piece> =
            vec![self.policy.into(), self.path.into(), self.load.to_string().into(), self.seed.to_string().into()];
        match &self.outcome {
            Figures::Impossible(why) => row.push(Piece::toned(why.clone(), Tone::Warn)),
            Figures::Ran {
                dom0_waited_times,
                dom0_waited_ns,
                dom0_waited_longest_ns,
                dom0_p99_ns,
                guests_p99_ns,
                ..
            } => {
                let tone = if *dom0_waited_times == 0 { Tone::Good } else { Tone::Bad };
                row.push(Piece::toned(format::count(*dom0_waited_times), tone));
                for ns in [dom0_waited_ns, dom0_waited_longest_ns, dom0_p99_ns, guests_p99_ns] {
                    row.push(format::duration(*ns).into());
                }
            }
        }
        row
    }
}

impl Answer for Swept {
    fn show(&self, page: &mut Page) {
        page.title(&format!("{}, shard {}: {} points", self.scenario, self.shard, self.points.len()));
        let head = ["policy", "path", "load", "seed", "dom0 waited", "in all", "longest", "dom0's p99", "guests' p99"];
        page.table(&head, self.points.iter().take(SHOWN).map(PointRow::pieces).collect());
        if self.points.len() > SHOWN {
            page.line(Tone::Faint, &format!("… and {} more points", self.points.len() - SHOWN));
        }
        page.line(Tone::Plain, &format!("All figures are in {}.", self.file.display()));
    }
}
