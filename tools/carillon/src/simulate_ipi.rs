//! `carillon simulate ipi`: what an IPI costs on each engine, and what the cost model rests on.

use std::io::Write as _;

use carillon_sim::ipi::Bench;
use carillon_sim::ipi::Contender;
use carillon_sim::ipi::FAST_PATH;
use carillon_sim::ipi::Fit;
use carillon_sim::ipi::Measured;
use carillon_sim::ipi::Mode;
use carillon_sim::ipi::Origin;
use carillon_sim::ipi::Reduction;
use carillon_sim::ipi::SOURCE;
use carillon_sim::ipi::Sending;
use carillon_sim::ipi::Step;
use carillon_sim::report;
use carillon_sim::report::IpiReport;
use hypervisor_lib::delivery::GuestMode;
use serde::Serialize;

use crate::cli::IpiArgs;
use crate::explain_access::mode_name;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::OutFile;
use crate::output::Output;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// The shares of turns whose cycles a page shows; JSON has every point.
const SHARES: [f64; 7] = [0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.99];

/// The modes in which something is sent.
const SENDING_MODES: [Mode; 4] = [Mode::SelfIpi, Mode::Normal, Mode::Broadcast, Mode::BroadcastLock];
/// Who has the software fast path.
const FAST: &str = "posted-fast-path";

/// The answer.
#[derive(Debug, Serialize)]
struct IpiCosts {
    source: &'static str,
    trained_on: usize,
    checked_on: usize,
    table: Vec<TableRow>,
    fast_path: Vec<FastPathRow>,
    order: Vec<String>,
    steps: Vec<StepRow>,
    mode: &'static str,
    vcpus: u32,
    turns: u32,
    seed: u64,
    broadcast: &'static str,
    engines: Vec<EngineRow>,
}

/// A mode of the published table, cycles and per cent.
#[derive(Debug, Serialize)]
struct TableRow {
    mode: &'static str,
    published: Ways,
    model: Ways,
    unseen_runs: Ways,
    error_points: f64,
}

/// Without and with IPI virtualization.
#[derive(Debug, Serialize)]
struct Ways {
    without_cycles: f64,
    with_cycles: f64,
    reduction_percent: f64,
}

/// A figure of the fast path.
#[derive(Debug, Serialize)]
struct FastPathRow {
    what: &'static str,
    published_cycles: f64,
    model_cycles: f64,
}

/// A step.
#[derive(Debug, Serialize)]
struct StepRow {
    name: &'static str,
    cycles: f64,
    from: String,
    meaning: &'static str,
}

/// An engine's runs.
#[derive(Debug, Serialize)]
struct EngineRow {
    engine: &'static str,
    modes: Vec<ModeRow>,
}

/// A run.
#[derive(Debug, Serialize)]
struct ModeRow {
    mode: &'static str,
    mean_cycles: f64,
    p50_cycles: u64,
    p99_cycles: u64,
    max_cycles: u64,
    sender_exits_per_turn: f64,
    target_exits_per_turn: f64,
    /// Cycles, and the share of turns that take at most that.
    cdf: Vec<(u64, f64)>,
}

/// Runs what the command line asks for.
pub(crate) fn run(args: &IpiArgs, out: Output) -> Result<Verdict, Failure> {
    let file = args.report.as_deref().map(OutFile::create).transpose()?;
    let fit = Fit::published().map_err(|error| Failure::caused(&error))?;
    let contenders = if args.engine.is_empty() { &Contender::ALL[..] } else { &args.engine };
    let runs: Result<Vec<(Contender, Vec<Measured>)>, Failure> =
        contenders.iter().map(|contender| Ok((*contender, bench(args, &fit, *contender)?))).collect();
    let runs = runs?;
    if let Some(file) = &file {
        let (mode, sending) = (mode_name(args.mode), sending_name(args.broadcast));
        let run = format!(
            "{} vCPUs, {} turns, seed {}, {mode} mode, broadcasts by {sending}; cycles of a model that is fitted on {} runs and \
             checked on {} others ({SOURCE}).",
            args.vcpus, args.turns, args.seed, fit.trained_on, fit.checked_on
        );
        let report = IpiReport {
            about: [run].into_iter().chain(order(&fit)?).collect(),
            engines: runs.iter().map(|(contender, runs)| (contender.name().to_owned(), runs.clone())).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let page = report::ipi_html(&report).map_err(|error| Failure::caused(&error))?;
        file.write(|out| out.write_all(page.as_bytes()))?;
    }
    out.print(&answer(args, &fit, runs)?, args.output.format())?;
    Ok(Verdict::Fine)
}

/// Every mode under a contender.
fn bench(args: &IpiArgs, fit: &Fit, contender: Contender) -> Result<Vec<Measured>, Failure> {
    let bench = Bench {
        fit,
        contender,
        apic: args.mode,
        vcpus: args.vcpus,
        turns: args.turns,
        sending: args.broadcast,
        seed: args.seed,
    };
    Mode::ALL.into_iter().map(|mode| bench.run(mode).map_err(|error| Failure::caused(&error))).collect()
}

fn answer(args: &IpiArgs, fit: &Fit, runs: Vec<(Contender, Vec<Measured>)>) -> Result<IpiCosts, Failure> {
    Ok(IpiCosts {
        source: SOURCE,
        trained_on: fit.trained_on,
        checked_on: fit.checked_on,
        table: fit
            .checks
            .iter()
            .map(|check| TableRow {
                mode: mode_name(check.mode),
                published: Ways::of(check.published),
                model: Ways::of(check.model),
                unseen_runs: Ways::of(check.held_out),
                error_points: check.error_points(),
            })
            .collect(),
        fast_path: FAST_PATH
            .iter()
            .map(|figure| FastPathRow {
                what: figure.what,
                published_cycles: figure.cycles,
                model_cycles: fit.of_fast_path(figure),
            })
            .collect(),
        order: order(fit)?,
        steps: Step::all().map(|step| StepRow::of(step, fit)).collect(),
        mode: mode_name(args.mode),
        vcpus: args.vcpus,
        turns: args.turns,
        seed: args.seed,
        broadcast: sending_name(args.broadcast),
        engines: runs
            .into_iter()
            .map(|(contender, runs)| EngineRow {
                engine: contender.name(),
                modes: runs.into_iter().map(ModeRow::of).collect(),
            })
            .collect(),
    })
}

/// The name of a way to send on the command line.
pub(crate) const fn sending_name(sending: Sending) -> &'static str {
    match sending {
        Sending::Shorthand => "shorthand",
        Sending::Each => "each",
    }
}

/// Fast path, IPI virtualization, exit path: in which order they come where, by the figures.
fn order(fit: &Fit) -> Result<Vec<String>, Failure> {
    let takes = |name: &str, mode| Contender::by_name(name).map(|one| fit.unicast(one, mode)).map_err(Failure::new);
    let in_order = |what: &str, mut of: [(&str, f64); 3]| {
        of.sort_by(|one, next| one.1.total_cmp(&next.1));
        let names = of.map(|(name, cycles)| format!("{name} {cycles:.0}"));
        format!("{what}: {}", names.join(" < "))
    };
    let quickest = FAST_PATH.iter().map(|figure| fit.of_fast_path(figure)).fold(f64::INFINITY, f64::min);
    let x2apic = GuestMode::X2Apic;
    let (ipiv, fast, exit) = (takes("ipiv", x2apic)?, takes("posted-fast-path", x2apic)?, takes("posted", x2apic)?);
    let names = |fast, exit| [("fast path", fast), ("IPI virtualization", ipiv), ("exit path", exit)];
    let (ipiv_page, exit_page) = (takes("ipiv", GuestMode::XApic)?, takes("posted", GuestMode::XApic)?);
    Ok(vec![
        in_order("x2APIC, the figures of different machines side by side", names(quickest, fast)),
        in_order("x2APIC, on the machine that has IPI virtualization", names(fast, exit)),
        format!("xAPIC, which has no fast path: IPI virtualization {ipiv_page:.0} < exit path {exit_page:.0}"),
    ])
}

impl ModeRow {
    fn of(measured: Measured) -> Self {
        Self {
            mode: measured.mode.name(),
            mean_cycles: measured.mean,
            p50_cycles: measured.p50,
            p99_cycles: measured.p99,
            max_cycles: measured.max,
            sender_exits_per_turn: measured.sender_exits,
            target_exits_per_turn: measured.target_exits,
            cdf: measured.cdf,
        }
    }
}

impl Ways {
    fn of(reduction: Reduction) -> Self {
        Self { without_cycles: reduction.without, with_cycles: reduction.with, reduction_percent: reduction.percent() }
    }
}

impl StepRow {
    fn of(step: Step, fit: &Fit) -> Self {
        let from = match step.origin() {
            Origin::Fitted => "fitted on the table".to_owned(),
            Origin::FastPath => "fitted on the fast path's figures".to_owned(),
            Origin::Machine(_) => "`explain costs`, at 2.4 GHz".to_owned(),
            Origin::Estimate(_, why) => format!("estimate: {why}"),
        };
        Self { name: step.name(), cycles: fit.costs.get(step), from, meaning: step.meaning() }
    }
}

impl Answer for IpiCosts {
    fn show(&self, page: &mut Page) {
        page.title("What an IPI costs");
        self.show_model(page);
        self.show_steps(page);
        self.show_runs(page);
    }
}

impl IpiCosts {
    fn show_model(&self, page: &mut Page) {
        let text =
            format!("Fitted on {} runs, checked on {} others: {}", self.trained_on, self.checked_on, self.source);
        page.line(Tone::Faint, &text);
        let of = |ways: &Ways| {
            format!("{:.0} → {:.0} (−{:.2} %)", ways.without_cycles, ways.with_cycles, ways.reduction_percent)
        };
        let row = |row: &TableRow| -> Vec<Piece> {
            let error = format!("{:+.2} points", row.error_points);
            let ways = [&row.published, &row.model, &row.unseen_runs].map(|ways| of(ways).into());
            [row.mode.into()].into_iter().chain(ways).chain([error.into()]).collect()
        };
        page.heading("Cycles without → with IPI virtualization");
        page.table(
            &["mode", "published", "model", "runs it has not seen", "error"],
            self.table.iter().map(row).collect(),
        );
        let row = |row: &FastPathRow| -> Vec<Piece> {
            vec![
                row.what.into(),
                format!("{:.0}", row.published_cycles).into(),
                format!("{:.0}", row.model_cycles).into(),
            ]
        };
        page.heading("Cycles with the software fast path, another machine");
        page.table(&["what is there", "published", "model"], self.fast_path.iter().map(row).collect());
        page.heading("Who comes first");
        self.order.iter().for_each(|sentence| page.line(Tone::Plain, &format!("  • {sentence}")));
    }

    fn show_steps(&self, page: &mut Page) {
        let row = |step: &StepRow| -> Vec<Piece> {
            vec![step.name.into(), format!("{:.0}", step.cycles).into(), step.from.clone().into(), step.meaning.into()]
        };
        page.heading("Steps");
        page.table(&["step", "cycles", "from", "what it is"], self.steps.iter().map(row).collect());
    }

    fn show_runs(&self, page: &mut Page) {
        page.heading(&format!("The microbenchmark, {} mode", self.mode));
        let text = format!(
            "{} vCPUs, {} turns, seed {}, broadcasts by {}; mean cycles of a turn",
            self.vcpus,
            self.turns,
            self.seed,
            if self.broadcast == "each" { "a command to each" } else { "shorthand" }
        );
        page.line(Tone::Faint, &text);
        let mut head = vec!["engine"];
        head.extend(Mode::ALL.map(Mode::name));
        head.push("exits of a broadcast");
        let row = |engine: &EngineRow| -> Vec<Piece> {
            let means = engine.modes.iter().map(|mode| format!("{:.0}", mode.mean_cycles).into());
            let broadcast = engine.modes.iter().find(|mode| mode.mode == Mode::Broadcast.name());
            let exits = broadcast.map_or_else(String::new, |mode| {
                format!("{} sender, {} targets", mode.sender_exits_per_turn, mode.target_exits_per_turn)
            });
            [engine.engine.into()].into_iter().chain(means).chain([exits.into()]).collect()
        };
        page.table(&head, self.engines.iter().map(row).collect());
        self.show_against_fast_path(page);
        for mode in SENDING_MODES {
            self.show_distribution(mode, page);
        }
    }

    /// Who is quicker than the software fast path in which mode, and by how much.
    fn show_against_fast_path(&self, page: &mut Page) {
        let Some(fast) = self.engines.iter().find(|engine| engine.engine == FAST) else { return };
        let against = |engine: &EngineRow, mode: Mode| -> Piece {
            let mean = |of: &EngineRow| of.modes.iter().find(|run| run.mode == mode.name()).map(|run| run.mean_cycles);
            let (Some(own), Some(fast)) = (mean(engine), mean(fast)) else { return "".into() };
            match (own - fast) / fast * 100.0 {
                percent if percent.abs() < 0.5 => "as quick".into(),
                percent if percent < 0.0 => Piece::toned(format!("{:.0} % quicker", -percent), Tone::Good),
                percent => Piece::toned(format!("{percent:.0} % slower"), Tone::Warn),
            }
        };
        let row = |engine: &EngineRow| -> Vec<Piece> {
            let modes = SENDING_MODES.map(|mode| against(engine, mode));
            [engine.engine.into()].into_iter().chain(modes).collect()
        };
        let mut head = vec!["engine"];
        head.extend(SENDING_MODES.map(Mode::name));
        page.heading("Against the software fast path");
        page.table(&head, self.engines.iter().filter(|engine| engine.engine != FAST).map(row).collect());
    }

    fn show_distribution(&self, mode: Mode, page: &mut Page) {
        page.heading(&format!("{}: cycles that so many turns take at most", mode.name()));
        let mut head = vec!["engine".to_owned()];
        head.extend(SHARES.map(|share| format!("{:.0} %", share * 100.0)));
        head.push("all".to_owned());
        let at = |run: &ModeRow, share: f64| -> Piece {
            let point = run.cdf.iter().find(|(_, reached)| *reached >= share);
            point.map_or_else(String::new, |(cycles, _)| cycles.to_string()).into()
        };
        let row = |engine: &EngineRow| -> Option<Vec<Piece>> {
            let run = engine.modes.iter().find(|run| run.mode == mode.name())?;
            let shares = SHARES.iter().map(|share| at(run, *share));
            Some([engine.engine.into()].into_iter().chain(shares).chain([at(run, 1.0)]).collect())
        };
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        page.table(&head, self.engines.iter().filter_map(row).collect());
    }
}
