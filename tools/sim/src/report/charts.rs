//! The charts, as the chart crate's data. Each has transparent grounds and takes its text colours from the page.

use plotly::Bar;
use plotly::Configuration;
use plotly::Layout;
use plotly::Plot;
use plotly::Scatter;
use plotly::Trace;
use plotly::color::Rgba;
use plotly::common::DashType;
use plotly::common::ExponentFormat;
use plotly::common::Line;
use plotly::common::LineShape;
use plotly::common::Marker;
use plotly::common::Mode;
use plotly::common::Orientation;
use plotly::configuration::DoubleClick;
use plotly::configuration::ModeBarButtonName;
use plotly::layout::Axis;
use plotly::layout::AxisType;
use plotly::layout::BarMode;
use plotly::layout::DragMode;
use plotly::layout::HoverMode;
use plotly::layout::Legend;
use plotly::layout::Margin;

use super::format;
use super::page;
use super::palette;
use crate::Latency;
use crate::RunResult;

/// How a run is called wherever runs are compared: `planned`, or `planned, posted, load 2` where that tells more.
pub(super) fn run_name(run: &RunResult) -> String {
    let mut name = run.policy.clone();
    if run.path != "as-is" {
        name.push_str(&format!(", {}", run.path));
    }
    if run.engine != "chosen" {
        name.push_str(&format!(", {}", run.engine));
    }
    if run.load != 1.0 {
        name.push_str(&format!(", load {}", run.load));
    }
    name
}

/// Nanoseconds on a chart's axis of milliseconds.
pub(super) fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The timeline's frame: lanes from the top, time to the right, zoom in time alone.
pub(super) fn lanes(traces: Vec<Box<dyn Trace>>, names: &[String], (from_ns, to_ns): (u64, u64)) -> Plot {
    let time = axis("virtual time, ms").range(vec![milliseconds(from_ns), milliseconds(to_ns)]);
    let bottom = names.len() as f64 - 0.5;
    let lanes = Axis::new()
        .tick_values((0..names.len()).map(|place| place as f64).collect())
        .tick_text(names.to_vec())
        .range(vec![bottom, -0.5])
        .fixed_range(true)
        .show_grid(false)
        .zero_line(false);
    let layout = layout()
        .bar_mode(BarMode::Overlay)
        .x_axis(time)
        .y_axis(lanes)
        .hover_mode(HoverMode::Closest)
        .drag_mode(DragMode::Zoom)
        .margin(Margin::new().left(72).right(16).top(58).bottom(48));
    plot(traces, layout)
}

/// One source's latencies: a step line per run, dotted up to the host's own handler.
pub(super) fn cumulative(runs: &[RunResult], source: u32) -> Plot {
    let mut traces: Vec<Box<dyn Trace>> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let Some(source) = run.sources.iter().find(|candidate| candidate.id == source) else { continue };
        let name = page::escape(&run_name(run));
        let reaches = [
            (&source.latency, DashType::Solid, "its owner's handler"),
            (&source.host_latency, DashType::Dot, "the host's handler"),
        ];
        for (latency, dash, reached) in reaches.into_iter().filter(|(latency, ..)| !latency.cdf.is_empty()) {
            let hover = latency.cdf.iter().map(|(ns, share)| {
                format!("<b>{name}</b><br>{:.2} % reach {reached} within {}", share * 100.0, format::duration(*ns))
            });
            let solid = matches!(dash, DashType::Solid);
            let trace = Scatter::new(microseconds(latency), latency.cdf.iter().map(|(_, share)| *share).collect())
                .name(&name)
                .legend_group(format!("run {index}"))
                .show_legend(solid)
                .mode(Mode::Lines)
                .hover_text_array(hover.collect())
                .hover_info(plotly::common::HoverInfo::Text)
                .line(Line::new().color(palette::run(index)).dash(dash).width(2.0).shape(LineShape::Hv));
            traces.push(trace);
        }
    }
    let layout = layout()
        .x_axis(axis("µs (logarithmic)").type_(AxisType::Log).exponent_format(ExponentFormat::None))
        .y_axis(axis("").range(vec![0.0, 1.02]).tick_format(".0%"))
        .hover_mode(HoverMode::Closest)
        .margin(Margin::new().left(52).right(12).top(48).bottom(46));
    plot(traces, layout)
}

/// Distributions of cycles: a step line each.
pub(super) fn cycles(named: &[(&str, &[(u64, f64)])]) -> Plot {
    let mut traces: Vec<Box<dyn Trace>> = Vec::new();
    for (index, (name, cdf)) in named.iter().enumerate() {
        let name = page::escape(name);
        let hover = cdf.iter().map(|(cycles, share)| {
            format!("<b>{name}</b><br>{:.0} % take at most {} cycles", share * 100.0, format::count(*cycles))
        });
        let trace = Scatter::new(
            cdf.iter().map(|(cycles, _)| *cycles as f64).collect(),
            cdf.iter().map(|(_, share)| *share).collect(),
        )
        .name(&name)
        .mode(Mode::Lines)
        .hover_text_array(hover.collect())
        .hover_info(plotly::common::HoverInfo::Text)
        .line(Line::new().color(palette::run(index)).width(2.0).shape(LineShape::Hv));
        traces.push(trace);
    }
    let layout = layout()
        .x_axis(axis("cycles").range_mode(plotly::layout::RangeMode::ToZero))
        .y_axis(axis("").range(vec![0.0, 1.02]).tick_format(".0%"))
        .hover_mode(HoverMode::Closest)
        .margin(Margin::new().left(52).right(12).top(64).bottom(46));
    plot(traces, layout)
}

/// How long guests kept dom0 waiting in each run, stacked by cause.
pub(super) fn blocked(runs: &[RunResult], causes: &[String]) -> Plot {
    let names: Vec<String> = runs.iter().map(|run| page::escape(&run_name(run))).collect();
    let mut traces: Vec<Box<dyn Trace>> = Vec::new();
    for (index, cause) in causes.iter().enumerate() {
        let total = |run: &RunResult| {
            run.blocking
                .iter()
                .filter(|one| one.cause == *cause)
                .fold(0_u64, |sum, one| sum.saturating_add(one.total_ns))
        };
        let hover =
            runs.iter().map(|run| format!("<b>{}</b><br>{}", page::escape(cause), format::duration(total(run))));
        let trace = Bar::new(runs.iter().map(|run| milliseconds(total(run))).collect(), names.clone())
            .orientation(Orientation::Horizontal)
            .name(page::escape(cause))
            .hover_text_array(hover.collect())
            .hover_info(plotly::common::HoverInfo::Text)
            .marker(Marker::new().color(palette::run(index)));
        traces.push(trace);
    }
    let layout = layout()
        .bar_mode(BarMode::Stack)
        .x_axis(axis("ms in all").range_mode(plotly::layout::RangeMode::ToZero))
        .y_axis(Axis::new().auto_margin(true).fixed_range(true).range(vec![runs.len() as f64 - 0.5, -0.5]))
        .bar_gap(0.35)
        .margin(Margin::new().left(90).right(16).top(48).bottom(46));
    plot(traces, layout)
}

/// The points of a distribution in µs; a logarithmic axis has no place for zero, so what took less than 1 ns takes 1 ns.
fn microseconds(latency: &Latency) -> Vec<f64> {
    latency.cdf.iter().map(|(ns, _)| (*ns).max(1) as f64 / 1e3).collect()
}

fn axis(title: &str) -> Axis {
    Axis::new().title(title).zero_line(false).auto_margin(true)
}

fn layout() -> Layout {
    let clear = Rgba::new(0, 0, 0, 0.0);
    Layout::new()
        .paper_background_color(clear)
        .plot_background_color(clear)
        .font(plotly::common::Font::new().family("system-ui, sans-serif").size(12))
        .show_legend(true)
        .legend(
            Legend::new().orientation(Orientation::Horizontal).x(0.0).y(1.0).y_anchor(plotly::common::Anchor::Bottom),
        )
}

fn plot(traces: Vec<Box<dyn Trace>>, layout: Layout) -> Plot {
    let mut plot = Plot::new();
    plot.add_traces(traces);
    plot.set_layout(layout);
    plot.set_configuration(
        Configuration::new()
            .responsive(true)
            .display_logo(false)
            .typeset_math(false)
            .double_click(DoubleClick::AutoSize)
            .mode_bar_buttons_to_remove(vec![ModeBarButtonName::Select2d, ModeBarButtonName::Lasso2d]),
    );
    plot
}
