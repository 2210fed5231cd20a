//! `carillon simulate`: scenarios run under several policies and delivery paths, side by side.

use std::io::Write as _;

use carillon_machine::Costs;
use carillon_machine::Span;
use carillon_sim::DevicePath;
use carillon_sim::Engine;
use carillon_sim::Run;
use carillon_sim::RunResult;
use carillon_sim::Scenario;
use carillon_sim::SpanLimit;
use carillon_sim::VectorPolicy;
use carillon_sim::report;
use carillon_sim::report::Finding;
use carillon_sim::report::Parameter;
use carillon_sim::report::PlanRows;
use carillon_sim::report::Report;
use vector_allocator::inversions;

use crate::cli::Engines;
use crate::cli::OtherSimulation;
use crate::cli::SimulateArgs;
use crate::comparison::Comparison;
use crate::comparison::Impossible;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::OutFile;
use crate::output::Output;
use crate::page::Page;
use crate::progress::Progress;
use crate::simulate_ipi;
use crate::simulate_move;
use crate::subject;
use crate::subject::Subject;

/// Spans a report's or trace's timeline holds at most.
const SPANS: SpanLimit = SpanLimit(200_000);

/// The comparisons of several scenarios.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
struct Comparisons(Vec<Comparison>);

/// Simulates what the command line asks for.
pub(crate) fn run(args: &SimulateArgs, out: Output) -> Result<Verdict, Failure> {
    match &args.other {
        Some(OtherSimulation::Ipi(ipi)) => return simulate_ipi::run(ipi, out),
        Some(OtherSimulation::Move(moved)) => return simulate_move::run(moved, out),
        None => {}
    }
    let mut subjects = subject::load(&args.subject)?;
    for Subject { scenario, .. } in &mut subjects {
        scenario.seed = args.seed.unwrap_or(scenario.seed);
        scenario.load = args.load.unwrap_or(scenario.load);
    }
    if subjects.len() > 1 && (args.report.is_some() || args.trace.is_some()) {
        return Err(
            Failure::new("a report or trace shows one host").hint("choose it with --recorded NAME or --from DIR")
        );
    }
    let limit = if args.report.is_some() || args.trace.is_some() { SPANS } else { SpanLimit(0) };
    let report = args.report.as_deref().map(OutFile::create).transpose()?;
    let trace = args.trace.as_deref().map(OutFile::create).transpose()?;
    let mut comparisons = Vec::new();
    for subject in &subjects {
        let comparison = compare(subject, &args.policy, &args.path, &args.engine, limit)?;
        if let Some(file) = &report {
            write_report(file, &subject.scenario, &comparison.runs)?;
        }
        if let (Some(file), Some(run)) = (&trace, comparison.runs.first()) {
            file.write(|out| report::perfetto(run, out))?;
        }
        comparisons.push(comparison.without_timelines());
    }
    out.print(&Comparisons(comparisons), args.output.format())?;
    Ok(Verdict::Fine)
}

/// Runs a scenario under every policy, path and engine asked for; without a word, its own and what the plan makes of it. Where
/// engines are compared, guests' devices come by the path that has most to do with them.
pub(crate) fn compare(
    subject: &Subject,
    policies: &[VectorPolicy],
    paths: &[DevicePath],
    engines: &[Engines],
    limit: SpanLimit,
) -> Result<Comparison, Failure> {
    let scenario = &subject.scenario;
    let own = [scenario.policy, VectorPolicy::Planned];
    let policies = match policies {
        [] if scenario.policy == VectorPolicy::Recorded && engines.is_empty() => &own[..],
        [] => &own[..1],
        _ => policies,
    };
    let own_path = [if engines.is_empty() { scenario.path } else { DevicePath::Posted }];
    let paths = if paths.is_empty() { &own_path[..] } else { paths };
    let served = under(scenario, engines);
    let mut comparison = Comparison::new(scenario, subject.harms.clone());
    let progress = Progress::of_runs(policies.len() * paths.len() * served.len());
    for scenario in &served {
        for path in paths {
            for policy in policies {
                let variant = Scenario { policy: *policy, path: *path, ..scenario.clone() };
                match Run::with_timeline(&variant, limit) {
                    Ok(run) => {
                        progress.begin(&format!("{} {policy} {path} {}", variant.name, variant.engine));
                        comparison.runs.push(run.to_end(|at| progress.at(at)));
                    }
                    Err(fault) => comparison.impossible.push(Impossible {
                        policy: policy.name(),
                        path: path.name(),
                        engine: variant.engine.name(),
                        why: fault.to_string(),
                    }),
                }
                progress.done();
            }
        }
    }
    progress.finish();
    match (comparison.runs.is_empty(), comparison.impossible.first()) {
        (true, Some(first)) => Err(Failure::new(format!("{}: {}", scenario.name, first.why))),
        _ => Ok(comparison),
    }
}

/// The scenario under each engine asked for; without a word, as it is.
fn under(scenario: &Scenario, engines: &[Engines]) -> Vec<Scenario> {
    let each = |engines: &Engines| match engines {
        Engines::All => Engine::ALL.to_vec(),
        Engines::One(engine) => vec![*engine],
    };
    match engines {
        [] => vec![scenario.clone()],
        _ => engines.iter().flat_map(each).map(|engine| scenario.with_engine(engine)).collect(),
    }
}

fn write_report(to: &OutFile<'_>, scenario: &Scenario, runs: &[RunResult]) -> Result<(), Failure> {
    let recorded = Scenario { policy: VectorPolicy::Recorded, ..scenario.clone() };
    let before = recorded.assignment().map_err(Failure::new)?;
    let plan = recorded.plan().map_err(Failure::new)?;
    let after = plan.apply(&before);
    let findings = |assignment| inversions(assignment).map(|one| Finding::of(assignment, &one)).collect();
    let mut costs = Costs::default();
    for (name, ns) in &scenario.costs_ns {
        costs.set(name, Span(*ns)).map_err(Failure::new)?;
    }
    let report = Report {
        title: scenario.name.clone(),
        about: [scenario.about.clone()].into_iter().chain(scenario.expect.iter().cloned()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: scenario.seed,
        results: runs.to_vec(),
        plan: PlanRows::of(&before, &plan),
        before: findings(&before),
        after: findings(&after),
        parameters: Parameter::all(&costs),
    };
    let page = report::html(&report).map_err(|error| Failure::caused(&error))?;
    to.write(|out| out.write_all(page.as_bytes()))
}

impl Answer for Comparisons {
    fn show(&self, page: &mut Page) {
        for comparison in &self.0 {
            comparison.show(page);
        }
    }
}
