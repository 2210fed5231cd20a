//! The answer in one sentence and a row of figures: what the host suffers, and what the best run makes of it.

use super::charts;
use super::format;
use super::model::Finding;
use super::model::Report;
use super::page;
use crate::RunResult;
use crate::Waits;

/// Policies in the order in which one of them stands for "after".
const BEST_FIRST: [&str; 2] = ["planned", "below-dom0"];

/// The cause of waiting that a plan is there to end.
const IN_SERVICE: &str = "in service";

/// The figures of one run.
struct Figures {
    waits: Waits,
    in_service_ns: u64,
    dom0_p99_ns: u64,
}

/// The run that stands for the host as it is, and the one that stands for the remedy, if there is any.
pub(super) fn before_and_after(results: &[RunResult]) -> Option<(&RunResult, Option<&RunResult>)> {
    let (before, others) = results.split_first()?;
    let best = BEST_FIRST.iter().find_map(|policy| others.iter().find(|run| run.policy == *policy));
    Some((before, best.or(others.last())))
}

/// The sentence at the top.
pub(super) fn headline(before: &RunResult, after: Option<&RunResult>) -> String {
    let was = figures(before);
    let span = format::duration(before.duration_ns);
    let mut sentence = if was.waits.total_ns == 0 {
        format!("In {span} no guest's interrupt kept dom0's waiting")
    } else {
        format!(
            "In {span} guests' interrupts kept dom0's waiting for {} in all, the longest for {}",
            format::duration(was.waits.total_ns),
            format::duration(was.waits.longest_ns)
        )
    };
    if let Some(after) = after {
        let is = figures(after);
        sentence.push_str(&format!("; with “{}” ", charts::run_name(after)));
        if is.waits.total_ns == 0 {
            sentence.push_str("none does");
        } else {
            sentence.push_str(&format!(
                "it is {}, the longest {}",
                format::duration(is.waits.total_ns),
                format::duration(is.waits.longest_ns)
            ));
        }
    }
    sentence.push('.');
    sentence
}

/// The row of figures under it, each before and after.
pub(super) fn cards(report: &Report, before: &RunResult, after: Option<&RunResult>) -> String {
    let was = figures(before);
    let is = after.map(figures);
    let inversions = |kind: &str| {
        let count = |findings: &[Finding]| findings.iter().filter(|finding| finding.kind == kind).count() as u64;
        (count(&report.before), Some(count(&report.after)))
    };
    let figure = |of: fn(&Figures) -> u64| (of(&was), is.as_ref().map(of));
    let rows = [
        ("pairs with the guest's vector above dom0's", inversions("rank"), format::count as fn(u64) -> String),
        ("pairs in which the guest can retain over dom0", inversions("retention"), format::count),
        ("dom0 kept waiting by guests", figure(|run| run.waits.total_ns), format::duration),
        ("longest such wait", figure(|run| run.waits.longest_ns), format::duration),
        ("of it by an in-service bit", figure(|run| run.in_service_ns), format::duration),
        ("dom0's worst p99 to the host's handler", figure(|run| run.dom0_p99_ns), format::duration),
    ];
    let mut html = String::from("<div class=\"cards\">\n");
    for (name, (was, is), show) in rows {
        html.push_str(&card(name, was, is, show));
    }
    html.push_str("</div>\n");
    html
}

fn card(name: &str, was: u64, is: Option<u64>, show: fn(u64) -> String) -> String {
    let change = is.map_or(String::new(), |is| {
        let class = match is.cmp(&was) {
            std::cmp::Ordering::Less => "better",
            std::cmp::Ordering::Equal => "same",
            std::cmp::Ordering::Greater => "worse",
        };
        format!(
            "<span class=\"arrow\" aria-label=\"becomes\">→</span><span class=\"{class}\">{}</span>",
            page::escape(&show(is))
        )
    });
    format!(
        "<div class=\"card\"><div class=\"figure\"><span>{}</span>{change}</div><div class=\"what\">{}</div></div>\n",
        page::escape(&show(was)),
        page::escape(name)
    )
}

fn figures(run: &RunResult) -> Figures {
    let dom0 = run.sources.iter().filter(|source| source.is_dom0s());
    Figures {
        waits: run.waits(),
        in_service_ns: run.waits_where(|one| one.cause == IN_SERVICE).total_ns,
        dom0_p99_ns: dom0.map(|source| source.host_latency.p99_ns).max().unwrap_or(0),
    }
}
