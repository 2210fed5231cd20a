//! The timeline: a lane per CPU, and in it a row per kind of thing that lasted.
//!
//! A browser stays quick with some thousand bars. Longer recordings are thinned: outside the moment the view starts at,
//! neighbours of one kind on one CPU are drawn as one bar that says how many it stands for; dom0's waiting and what
//! causes it are merged last. Nothing is dropped without a note.

use std::cmp::Reverse;

use plotly::Trace;
use plotly::common::Marker;
use plotly::common::PlotType;
use serde::Serialize;

use super::charts;
use super::format;
use super::page;
use super::palette;
use crate::Lane;
use crate::RunResult;
use crate::SpanKind;
use crate::TimelineSpan;

/// How many bars one timeline draws at most, as long as merging can get there.
const BARS: usize = 6_000;
/// How many CPUs one timeline shows: those where dom0 waited longest.
const LANES: usize = 32;
/// The view starts at dom0's longest wait, with this much on either side, ns.
const FOCUS_NS: u64 = 1_500_000;
/// A lane's height on the screen, px.
const LANE_PX: usize = 64;

/// The rows of a lane: what is drawn, where in the lane (its height is 1, its middle 0), how high.
const ROWS: [Row; 5] = [
    Row { name: "dom0's vCPU runs", kind: SpanKind::Vcpu, whose: Whose::Dom0, offset: -0.44, height: 0.22 },
    Row { name: "a guest's vCPU runs", kind: SpanKind::Vcpu, whose: Whose::Guest, offset: -0.44, height: 0.22 },
    Row {
        name: "host handles an interrupt",
        kind: SpanKind::HostHandler,
        whose: Whose::Any,
        offset: -0.2,
        height: 0.2,
    },
    Row {
        name: "guest keeps the in-service bit",
        kind: SpanKind::Retention,
        whose: Whose::Any,
        offset: 0.02,
        height: 0.2,
    },
    Row { name: "dom0's interrupt waits", kind: SpanKind::Dom0Blocked, whose: Whose::Any, offset: 0.24, height: 0.2 },
];

struct Row {
    name: &'static str,
    kind: SpanKind,
    whose: Whose,
    offset: f64,
    height: f64,
}

/// Whose vCPU a span is about, told by its label (`d0v1`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Dom0,
    Guest,
    Any,
}

impl Row {
    fn takes(&self, span: &TimelineSpan) -> bool {
        let dom0 = span.label.starts_with("d0v");
        self.kind == span.kind
            && match self.whose {
                Whose::Dom0 => dom0,
                Whose::Guest => !dom0,
                Whose::Any => true,
            }
    }

    fn is_harm(&self) -> bool {
        matches!(self.kind, SpanKind::Retention | SpanKind::Dom0Blocked)
    }

    fn colour(&self) -> &'static str {
        if self.whose == Whose::Dom0 { palette::DOM0_VCPU } else { palette::span(self.kind) }
    }
}

/// One bar: a span, or several that lie close together.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    start_ns: u64,
    end_ns: u64,
    spans: u64,
    label: String,
}

/// What thinning merged: neighbours less than so many ns apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merged {
    Nothing,
    /// Outside the first view, and only what harms nobody.
    AroundTheHarm(u64),
    Everywhere(u64),
}

/// Horizontal bars with a start; the chart crate's own bar has no base.
#[derive(Clone, Serialize)]
struct Bars {
    #[serde(rename = "type")]
    plot: PlotType,
    orientation: &'static str,
    name: &'static str,
    base: Vec<f64>,
    x: Vec<f64>,
    y: Vec<usize>,
    offset: f64,
    width: f64,
    hovertext: Vec<String>,
    hoverinfo: &'static str,
    marker: Marker,
}

impl Trace for Bars {
    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The timeline of `run` as a figure with its notes; nothing if the run recorded none.
pub(super) fn timeline(run: &RunResult, id: &str, focus: (u64, u64)) -> Option<String> {
    let lanes = lanes(&run.timeline);
    let spans: usize = lanes.iter().map(|lane| lane.spans.len()).sum();
    if spans == 0 {
        return None;
    }
    let (rows, merged) = thin(&lanes, focus, BARS);
    let traces = ROWS.iter().zip(&rows).filter(|(_, lanes)| lanes.iter().any(|bars| !bars.is_empty()));
    let names: Vec<String> = lanes.iter().map(|lane| format!("pCPU {}", lane.cpu)).collect();
    let plot = charts::lanes(traces.map(|(row, bars)| draw(row, bars, &lanes)).collect(), &names, focus);
    let chart = plot.to_inline_html(Some(id));
    let caption = format!("{}: what each CPU did", charts::run_name(run));
    let notes = notes(run, &lanes, focus, merged);
    Some(format!("{}{notes}", page::figure(&caption, 110 + LANE_PX * lanes.len(), &chart)))
}

/// The CPUs shown, in order of their number: those where dom0 waited longest, then the busiest.
fn lanes(all: &[Lane]) -> Vec<&Lane> {
    let waited = |lane: &Lane| -> u64 {
        let waits = lane.spans.iter().filter(|span| span.kind == SpanKind::Dom0Blocked);
        waits.map(|span| span.end_ns.saturating_sub(span.start_ns)).fold(0, u64::saturating_add)
    };
    let mut lanes: Vec<&Lane> = all.iter().filter(|lane| !lane.spans.is_empty()).collect();
    lanes.sort_by_cached_key(|lane| (Reverse((waited(lane), lane.spans.len())), lane.cpu));
    lanes.truncate(LANES);
    lanes.sort_by_key(|lane| lane.cpu);
    lanes
}

/// Where every run's view starts, from and to in ns: around dom0's longest wait in the first run that has one, so that
/// the runs show the same moment; else the first moments.
pub(super) fn view(runs: &[RunResult]) -> (u64, u64) {
    let longest = |run: &RunResult| {
        let waits = run.timeline.iter().flat_map(|lane| &lane.spans).filter(|span| span.kind == SpanKind::Dom0Blocked);
        let wait = waits.max_by_key(|span| (span.end_ns.saturating_sub(span.start_ns), Reverse(span.start_ns)))?;
        Some((wait.start_ns.saturating_sub(FOCUS_NS), wait.end_ns.saturating_add(FOCUS_NS)))
    };
    runs.iter().find_map(longest).unwrap_or((0, 2 * FOCUS_NS))
}

/// The bars of each row and lane, and what was merged. What lies in `focus` and what harms dom0 stays exact unless that
/// alone exceeds the budget.
fn thin(lanes: &[&Lane], focus: (u64, u64), budget: usize) -> (Vec<Vec<Vec<Bar>>>, Merged) {
    let gaps = || std::iter::successors(Some(1_000_u64), |gap| gap.checked_mul(2)).chain([u64::MAX]);
    let attempts = gaps().map(Merged::AroundTheHarm).chain(gaps().map(Merged::Everywhere));
    let mut last = (merge(lanes, focus, Merged::Nothing), Merged::Nothing);
    for merged in attempts {
        if last.0.iter().flatten().map(Vec::len).sum::<usize>() <= budget {
            break;
        }
        last = (merge(lanes, focus, merged), merged);
    }
    last
}

fn merge(lanes: &[&Lane], focus: (u64, u64), merged: Merged) -> Vec<Vec<Vec<Bar>>> {
    let merge_lane = |row: &Row, lane: &Lane| {
        let joins = |bar: &Bar, span: &TimelineSpan| {
            let gap_ns = span.start_ns.saturating_sub(bar.end_ns);
            let in_focus =
                span.start_ns <= focus.1 && span.end_ns >= focus.0 || bar.start_ns <= focus.1 && bar.end_ns >= focus.0;
            match merged {
                Merged::Nothing => false,
                Merged::AroundTheHarm(limit_ns) => gap_ns <= limit_ns && !in_focus && !row.is_harm(),
                Merged::Everywhere(limit_ns) => gap_ns <= limit_ns,
            }
        };
        let mut bars: Vec<Bar> = Vec::new();
        for span in lane.spans.iter().filter(|span| row.takes(span)) {
            let end_ns = span.end_ns.max(span.start_ns);
            match bars.last_mut() {
                Some(bar) if joins(bar, span) => {
                    bar.end_ns = bar.end_ns.max(end_ns);
                    bar.spans += 1;
                    if bar.label != span.label {
                        bar.label = "several".to_owned();
                    }
                }
                _ => bars.push(Bar { start_ns: span.start_ns, end_ns, spans: 1, label: span.label.clone() }),
            }
        }
        bars
    };
    ROWS.iter().map(|row| lanes.iter().map(|lane| merge_lane(row, lane)).collect()).collect()
}

fn draw(row: &Row, bars: &[Vec<Bar>], lanes: &[&Lane]) -> Box<dyn Trace> {
    let all = || bars.iter().enumerate().flat_map(|(place, bars)| bars.iter().map(move |bar| (place, bar)));
    Box::new(Bars {
        plot: PlotType::Bar,
        orientation: "h",
        name: row.name,
        base: all().map(|(_, bar)| charts::milliseconds(bar.start_ns)).collect(),
        x: all().map(|(_, bar)| charts::milliseconds(bar.end_ns - bar.start_ns)).collect(),
        y: all().map(|(place, _)| place).collect(),
        offset: row.offset,
        width: row.height,
        hovertext: all().map(|(place, bar)| hover(row, bar, lanes[place].cpu)).collect(),
        hoverinfo: "text",
        marker: Marker::new().color(row.colour()),
    })
}

/// What the pointer shows: source and vector (the label), what it is, where, since when, how long.
fn hover(row: &Row, bar: &Bar, cpu: u32) -> String {
    let lasted = format::duration(bar.end_ns - bar.start_ns);
    let how_many =
        if bar.spans == 1 { format!("lasts {lasted}") } else { format!("{} in {lasted}", format::count(bar.spans)) };
    format!(
        "<b>{}</b><br>{} · pCPU {cpu}<br>from {}<br>{how_many}",
        page::escape(&bar.label),
        row.name,
        format::instant(bar.start_ns)
    )
}

fn notes(run: &RunResult, lanes: &[&Lane], focus: (u64, u64), merged: Merged) -> String {
    let mut notes = vec![
        "Drag over the chart to zoom in time, drag the axis to pan, double-click to see the whole run.".to_owned(),
    ];
    let waits = run.timeline.iter().flat_map(|lane| &lane.spans).any(|span| span.kind == SpanKind::Dom0Blocked);
    notes.push(match (waits, focus.0) {
        (_, 0) => "The view starts with the run.".to_owned(),
        (true, from) => format!("The view starts around dom0's longest wait, at {}.", format::instant(from)),
        (false, from) => format!("The view starts at the same moment as above, {}.", format::instant(from)),
    });
    let apart = |gap_ns| {
        format!(
            "To stay quick, neighbours of one kind less than {} apart are drawn as one bar",
            format::duration(gap_ns)
        )
    };
    match merged {
        Merged::Nothing => {}
        Merged::AroundTheHarm(gap_ns) => {
            notes.push(format!("{} outside that view; what harms dom0 is drawn one by one.", apart(gap_ns)))
        }
        Merged::Everywhere(gap_ns) => notes.push(format!("{}.", apart(gap_ns))),
    }
    if run.timeline_is_cut {
        notes.push(
            "The recording reached its limit: later spans are missing, the figures elsewhere are of the whole run."
                .to_owned(),
        );
    }
    let active = run.timeline.iter().filter(|lane| !lane.spans.is_empty()).count();
    if active > lanes.len() {
        notes.push(format!("Of {active} active CPUs the {} are shown where dom0 waited longest.", lanes.len()));
    }
    format!("<p class=\"note\">{}</p>\n", page::escape(&notes.join(" ")))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prop_assert;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::FOCUS_NS;
    use super::LANES;
    use super::Merged;
    use super::lanes;
    use super::thin;
    use super::view;
    use crate::Lane;
    use crate::RunResult;
    use crate::SpanKind;
    use crate::TimelineSpan;

    fn span(start_ns: u64, end_ns: u64, kind: SpanKind) -> TimelineSpan {
        TimelineSpan { start_ns, end_ns, kind, label: "megaraid_sas C8".to_owned() }
    }

    fn run(timeline: Vec<Lane>) -> RunResult {
        RunResult {
            scenario: "test".to_owned(),
            policy: "recorded".to_owned(),
            path: "as-is".to_owned(),
            engine: "chosen".to_owned(),
            host_ns: 0,
            guests_latency: crate::Latency::default(),
            load: 1.0,
            seed: 1,
            duration_ns: 100_000_000,
            events: 0,
            trace_hash: 0,
            cpus: 4,
            sources: Vec::new(),
            blocking: Vec::new(),
            exits: Vec::new(),
            event_channels: Vec::new(),
            retention: Vec::new(),
            scheduling: Vec::new(),
            timeline,
            timeline_is_cut: false,
        }
    }

    fn busy(count: u64) -> Lane {
        Lane { cpu: 0, spans: (0..count).map(|n| span(n * 10_000, n * 10_000 + 900, SpanKind::HostHandler)).collect() }
    }

    #[test]
    fn the_view_starts_around_the_longest_wait_of_dom0() {
        let lane = Lane {
            cpu: 1,
            spans: vec![
                span(5_000_000, 5_000_100, SpanKind::Dom0Blocked),
                span(40_000_000, 41_000_000, SpanKind::Dom0Blocked),
                span(60_000_000, 69_000_000, SpanKind::Vcpu),
            ],
        };
        let recorded = run(vec![lane]);
        let planned = run(vec![busy(3)]);
        assert_eq!(view(&[planned.clone(), recorded]), (40_000_000 - FOCUS_NS, 41_000_000 + FOCUS_NS));
        assert_eq!(view(&[planned]), (0, 2 * FOCUS_NS));
    }

    #[test]
    fn a_recording_within_the_budget_is_drawn_span_by_span() {
        let lane = busy(1_000);
        let (bars, gap) = thin(&[&lane], (0, 0), 1_000);
        assert_eq!((bars.iter().flatten().map(Vec::len).sum::<usize>(), gap), (1_000, Merged::Nothing));
    }

    #[test]
    fn twenty_thousand_spans_are_thinned_but_the_view_at_the_start_stays_exact() {
        let lane = busy(20_000);
        let focus = (50_000_000, 52_000_000);
        let (bars, gap) = thin(&[&lane], focus, 6_000);
        let drawn: Vec<_> = bars.iter().flatten().flatten().collect();
        assert!(drawn.len() <= 6_000 && matches!(gap, Merged::AroundTheHarm(_)), "{} bars", drawn.len());
        let exact = drawn.iter().filter(|bar| bar.start_ns >= focus.0 && bar.end_ns <= focus.1);
        assert!(exact.clone().all(|bar| bar.spans == 1));
        assert_eq!(exact.count(), 200);
    }

    #[test]
    fn where_everything_is_in_view_the_budget_still_holds() {
        let lane = busy(20_000);
        let (bars, merged) = thin(&[&lane], (0, u64::MAX), 6_000);
        assert_eq!(bars.iter().flatten().map(Vec::len).sum::<usize>(), 1);
        assert_eq!(merged, Merged::Everywhere(16_000));
    }

    #[test]
    fn of_many_cpus_those_are_shown_where_dom0_waited_longest() {
        let quiet = (0..1024).map(|cpu| Lane { cpu, spans: vec![span(0, 10, SpanKind::HostHandler)] });
        let mut all: Vec<Lane> = quiet.collect();
        all[777].spans.push(span(20, 30, SpanKind::Dom0Blocked));
        let shown = lanes(&all);
        assert_eq!(shown.len(), LANES);
        assert!(shown.iter().any(|lane| lane.cpu == 777));
    }

    proptest! {
        #[test]
        fn every_span_is_in_exactly_one_bar(starts in vec(0_u64..1_000_000, 1..400), budget in 1_usize..300) {
            let mut starts = starts;
            starts.sort_unstable();
            let spans: Vec<_> = starts.iter().map(|start| span(*start, start + 50, SpanKind::Retention)).collect();
            let lane = Lane { cpu: 0, spans };
            let (bars, _) = thin(&[&lane], (400_000, 500_000), budget);
            let drawn: Vec<_> = bars.into_iter().flatten().flatten().collect();
            prop_assert_eq!(drawn.iter().map(|bar| bar.spans).sum::<u64>(), starts.len() as u64);
            prop_assert!(drawn.len() <= budget, "{} bars", drawn.len());
            prop_assert!(starts.iter().all(|start| drawn.iter().any(|bar| bar.start_ns <= *start && bar.end_ns >= start + 50)));
        }
    }
}
