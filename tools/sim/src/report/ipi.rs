//! The report of the IPI microbenchmark: a distribution a mode, an engine a line.

use super::ReportError;
use super::charts;
use super::format;
use super::html;
use super::page;
use super::page::Column;
use crate::ipi::Measured;
use crate::ipi::Mode;

/// What the report shows.
#[derive(Clone, Debug, PartialEq)]
pub struct IpiReport {
    /// What is to be known before the figures.
    pub about: Vec<String>,
    /// The engines' names with their runs.
    pub engines: Vec<(String, Vec<Measured>)>,
    /// The version that made it.
    pub version: String,
}

/// The report as a page, which loads nothing from anywhere.
///
/// # Errors
/// [`ReportError::NoRuns`] without a run; [`ReportError::NoChartScript`] if the chart crate changed.
pub fn ipi_html(report: &IpiReport) -> Result<String, ReportError> {
    const TITLE: &str = "What an IPI costs";
    if report.engines.iter().all(|(_, runs)| runs.is_empty()) {
        return Err(ReportError::NoRuns { title: TITLE.to_owned() });
    }
    let mut body = format!("<header>\n<h1>{TITLE}</h1>\n{}</header>\n", html::about(&report.about));
    let sending = Mode::ALL.into_iter().filter(|mode| *mode != Mode::DryRun);
    let figures: String = sending.enumerate().map(|(index, mode)| figure(report, index, mode)).collect();
    body.push_str(&page::section(
        "distributions",
        "Distributions",
        "The share of turns that take at most so many cycles.",
        &format!("<div class=\"grid\">\n{figures}</div>\n"),
    ));
    body.push_str(&page::section(
        "means",
        "Means",
        "Cycles of a turn, and how often sender and targets exit in it.",
        &means(report),
    ));
    body.push_str(&format!("<footer>Carillon {}</footer>\n", page::escape(&report.version)));
    html::document(TITLE, &body)
}

fn figure(report: &IpiReport, index: usize, mode: Mode) -> String {
    let of_mode = |runs: &'_ [Measured]| runs.iter().position(|run| run.mode == mode);
    let lines: Vec<(&str, &[(u64, f64)])> =
        report.engines.iter().filter_map(|(name, runs)| Some((name.as_str(), &runs[of_mode(runs)?].cdf[..]))).collect();
    let chart = charts::cycles(&lines).to_inline_html(Some(&format!("ipi-{index}")));
    page::figure(mode.name(), 320, &chart)
}

fn means(report: &IpiReport) -> String {
    let head = [
        ("engine", Column::Text),
        ("mode", Column::Text),
        ("mean", Column::Number),
        ("p50", Column::Number),
        ("p99", Column::Number),
        ("sender exits", Column::Number),
        ("target exits", Column::Number),
    ];
    let row = |name: &str, run: &Measured| {
        vec![
            name.to_owned(),
            run.mode.name().to_owned(),
            format!("{:.0}", run.mean),
            format::count(run.p50),
            format::count(run.p99),
            run.sender_exits.to_string(),
            run.target_exits.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> =
        report.engines.iter().flat_map(|(name, runs)| runs.iter().map(move |run| row(name, run))).collect();
    page::table(&head, &rows, "Nothing was run.")
}
