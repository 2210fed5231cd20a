//! The report as one HTML file: nothing is loaded from anywhere, and the page's own policy forbids it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use plotly::Plot;

use super::ReportError;
use super::charts;
use super::format;
use super::model::Report;
use super::page;
use super::summary;
use super::tables;
use super::timeline;
use crate::RunResult;

/// How many sources get a distribution of their own: dom0's first, of each owner's the busiest.
const DISTRIBUTIONS: usize = 8;
/// What a page may do: run the scripts and styles it carries, draw images it makes itself, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/// The report as a page.
///
/// # Errors
/// [`ReportError::NoRuns`] without a run; [`ReportError::NoChartScript`] if the chart crate changed.
pub fn html(report: &Report) -> Result<String, ReportError> {
    let (before, after) = summary::before_and_after(&report.results)
        .ok_or_else(|| ReportError::NoRuns { title: report.title.clone() })?;
    let mut page = String::new();
    page.push_str(&format!(
        "<header>\n<p class=\"title\">{}</p>\n<h1>{}</h1>\n{}{}</header>\n",
        page::escape(&report.title),
        page::escape(&summary::headline(before, after)),
        about(&report.about),
        summary::cards(report, before, after)
    ));
    for section in sections(report) {
        page.push_str(&section);
    }
    page.push_str(&format!(
        "<footer>Carillon {} · seed {} · {}</footer>\n",
        page::escape(&report.version),
        report.seed,
        page::escape(&facts(before))
    ));
    document(&report.title, &page)
}

/// A page that needs nothing from anywhere: the chart library, the style, and `body`, which is markup already.
///
/// # Errors
/// [`ReportError::NoChartScript`] if the chart crate changed.
pub(super) fn document(title: &str, body: &str) -> Result<String, ReportError> {
    let scripts = Plot::offline_js_sources();
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · Carillon</title>\n<style>\n{style}</style>\n{script}\n</head>\n<body>\n<main>\n\
         {body}</main>\n</body>\n</html>\n",
        title = page::escape(title),
        style = include_str!("page.css"),
        script = chart_script(&scripts)?,
    ))
}

/// What is to be known before the figures.
pub(super) fn about(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("<p>{}</p>\n", page::escape(sentence))).collect()
}

/// The chart library's own script alone; the crate hands it out together with a typesetter of formulae twice the page.
fn chart_script(scripts: &str) -> Result<&str, ReportError> {
    const END: &str = "</script>";
    let end = scripts.find(END).ok_or(ReportError::NoChartScript)? + END.len();
    let script = scripts.get(..end).ok_or(ReportError::NoChartScript)?;
    if script.contains("plotly.js v") { Ok(script) } else { Err(ReportError::NoChartScript) }
}

fn sections(report: &Report) -> Vec<String> {
    let runs = &report.results;
    vec![
        page::section(
            "waiting",
            "Dom0 kept waiting by guests",
            "A guest's interrupt delays one of dom0's by being served first, by its handler still running, or, far worse, \
             by staying in service until the guest is done.",
            &waiting(runs),
        ),
        page::section(
            "timeline",
            "Timeline",
            "A lane per physical CPU. Red is dom0 waiting; amber above it is what it waits for.",
            &timelines(runs),
        ),
        page::section(
            "plan",
            "Plan",
            "The moves that mend the host, in order: each reserves the new vector, programs it, drains the old one and \
             releases it.",
            &format!(
                "{}{}<h3>Where guests outrank or can hold back dom0</h3>\n{}",
                tables::moves(&report.plan),
                tables::remaining(&report.plan),
                tables::findings(&report.before, &report.after)
            ),
        ),
        page::section(
            "latency",
            "Latency",
            "The share of interrupts that reach their owner's handler within a time; dotted, the host's own handler, which \
             is all that host vectors decide.",
            &latency(runs),
        ),
        page::section(
            "exits",
            "Exits",
            "How often a running vCPU lost its CPU to the host, by cause.",
            &tables::exits(runs),
        ),
        page::section(
            "scheduling",
            "The scheduler's share",
            "Waiting for a CPU that a guest's vCPU keeps: no vector changes this, the scheduler's settings do.",
            &tables::scheduling(runs),
        ),
        page::section(
            "parameters",
            "Parameters",
            "What each step was taken to cost. Every run of this report used the same.",
            &tables::parameters(&report.parameters),
        ),
    ]
}

fn waiting(runs: &[RunResult]) -> String {
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    for one in runs.iter().flat_map(|run| &run.blocking) {
        let total = totals.entry(one.cause.clone()).or_default();
        *total = total.saturating_add(one.total_ns);
    }
    let mut causes: Vec<String> = totals.keys().cloned().collect();
    causes.sort_by_key(|cause| Reverse(totals[cause]));
    let mut body = String::new();
    if !causes.is_empty() {
        let chart = charts::blocked(runs, &causes).to_inline_html(Some("blocked"));
        body.push_str(&page::figure(
            "Time dom0's interrupts waited because of guests, by run",
            110 + 34 * runs.len(),
            &chart,
        ));
    }
    body.push_str(&tables::blocking(runs));
    body.push_str("<h3>In-service bits kept</h3>\n");
    body.push_str(&tables::retention(runs));
    body
}

fn timelines(runs: &[RunResult]) -> String {
    let view = timeline::view(runs);
    let drawn: String = runs
        .iter()
        .enumerate()
        .filter_map(|(index, run)| timeline::timeline(run, &format!("timeline-{index}"), view))
        .collect();
    if drawn.is_empty() { "<p class=\"none\">No run recorded a timeline.</p>\n".to_owned() } else { drawn }
}

fn latency(runs: &[RunResult]) -> String {
    let mut sources: Vec<(bool, u64, u32, String)> = Vec::new();
    for source in runs.iter().flat_map(|run| &run.sources) {
        let is_a_domains = source.is_dom0s() || source.is_guests();
        let counts = is_a_domains && !(source.latency.cdf.is_empty() && source.host_latency.cdf.is_empty());
        if counts && !sources.iter().any(|(_, _, id, _)| *id == source.id) {
            let guest = source.is_guests();
            sources.push((guest, source.raised, source.id, format!("{} of {}", source.label, source.owner)));
        }
    }
    sources.sort_by_key(|(guest, raised, id, _)| (*guest, Reverse(*raised), *id));
    let mut body = String::from("<div class=\"grid\">\n");
    for (.., id, name) in sources.iter().take(DISTRIBUTIONS) {
        let chart = charts::cumulative(runs, *id).to_inline_html(Some(&format!("latency-{id}")));
        body.push_str(&page::figure(name, 280, &chart));
    }
    body.push_str("</div>\n");
    if sources.len() > DISTRIBUTIONS {
        let rest = sources.len() - DISTRIBUTIONS;
        body.push_str(&format!(
            "<p class=\"note\">The busiest {DISTRIBUTIONS} are drawn; {rest} more are in the table.</p>\n"
        ));
    }
    format!("{body}<details><summary>All figures</summary>\n{}</details>\n", tables::sources(runs))
}

fn facts(run: &RunResult) -> String {
    format!(
        "{} CPUs · {} of virtual time · {} events in the first run",
        run.cpus,
        format::duration(run.duration_ns),
        format::count(run.events)
    )
}
