//! The report is what a browser makes of it: charts that show the runs' values, zoom, explain themselves under the
//! pointer, and can be read in both colour schemes.

mod browser;
mod sample;

use std::path::PathBuf;

use browser::Browser;
use carillon_sim::report;
use carillon_sim::report::Report;
use tempfile::TempDir;

/// Every chart has been drawn.
const DRAWN: &str = "document.readyState === 'complete' && document.querySelector('#latency details') && \
                     [...document.querySelectorAll('.js-plotly-plot')].length >= 7 && \
                     [...document.querySelectorAll('.js-plotly-plot')].every(chart => chart._fullLayout && chart.querySelector('.xtick'))";

/// The smallest contrast between any text and what lies behind it, and the text that has it (WCAG 2.2, 1.4.3).
const WORST_CONTRAST: &str = r"(() => {
    const rgba = text => { const n = text.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
    const luminance = c => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => {
        const v = c[i] / 255; return sum + w * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
    const behind = node => { for (; node; node = node.parentElement) {
        const c = rgba(getComputedStyle(node).backgroundColor); if (c[3] > 0.5) return c; } return [255, 255, 255, 1]; };
    let worst = [99, ''];
    for (const node of document.querySelectorAll('h1,h2,h3,p,td,th,.what,.figure span,figcaption,summary,footer,svg text')) {
        if (!node.textContent.trim() || !node.getClientRects().length) continue;
        const style = getComputedStyle(node);
        const [a, b] = [luminance(rgba(node.closest('svg') ? style.fill : style.color)), luminance(behind(node))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < worst[0]) worst = [contrast, node.textContent.slice(0, 40)];
    }
    return worst;
})()";

/// The browser with the report open and the directory it lies in, or nothing where there is no browser.
fn open(report: &Report) -> Option<(Browser, TempDir)> {
    let Some(mut browser) = Browser::start() else {
        println!("SKIP report_in_browser: chromium is not installed (apt-get install chromium)");
        return None;
    };
    let directory = tempfile::tempdir().expect("a directory for the report");
    let file: PathBuf = directory.path().join("report.html");
    std::fs::write(&file, report::html(report).expect("a report")).expect("the report is written");
    browser.open(&file, DRAWN);
    Some((browser, directory))
}

/// The middle of the first timeline's plot, its left edge, its width and height, in the window, scrolled into view.
fn plot_area(browser: &mut Browser) -> [f64; 4] {
    let area = browser.numbers(
        "(() => { document.querySelector('#timeline-0').scrollIntoView({ block: 'center', behavior: 'instant' }); \
         const r = document.querySelector('#timeline-0 .nsewdrag').getBoundingClientRect(); \
         return [r.left, r.top, r.width, r.height]; })()",
    );
    area.try_into().expect("four numbers")
}

fn time_range(browser: &mut Browser) -> Vec<f64> {
    browser.numbers("document.querySelector('#timeline-0')._fullLayout.xaxis.range.map(Number)")
}

#[test]
fn the_report_zooms_and_shows_the_runs_values() {
    let report = sample::report();
    let Some((mut browser, _directory)) = open(&report) else { return };

    let waits = report.results[0].timeline.iter().flat_map(|lane| &lane.spans);
    let longest = waits
        .filter(|span| span.kind == carillon_sim::SpanKind::Dom0Blocked)
        .max_by_key(|span| span.end_ns - span.start_ns)
        .expect("a wait");
    let drawn = browser.numbers(
        "(() => { const t = document.querySelector('#timeline-0').data.find(t => t.name === \"dom0's interrupt waits\"); \
         const longest = t.x.indexOf(Math.max(...t.x)); return [t.base[longest], t.x[longest], t.y[longest]]; })()",
    );
    assert!((drawn[0] - longest.start_ns as f64 / 1e6).abs() < 1e-9, "{drawn:?}");
    assert!((drawn[1] - (longest.end_ns - longest.start_ns) as f64 / 1e6).abs() < 1e-9, "{drawn:?}");

    let before = time_range(&mut browser);
    let [left, top, width, height] = plot_area(&mut browser);
    browser.drag((left + width * 0.25, top + height * 0.5), (left + width * 0.75, top + height * 0.5));
    browser.wait_until(&format!(
        "(([a, b]) => b - a < {})(document.querySelector('#timeline-0')._fullLayout.xaxis.range)",
        (before[1] - before[0]) * 0.9
    ));
    let after = time_range(&mut browser);
    let span = before[1] - before[0];
    for (shown, share) in after.iter().zip([0.25, 0.75]) {
        let expected = before[0] + span * share;
        assert!((shown - expected).abs() < span * 0.01, "{before:?} becomes {after:?}");
    }

    let blocked = browser.numbers("document.querySelector('#blocked').data.map(t => t.x[0])");
    let total: u64 = report.results[0].blocking.iter().map(|one| one.total_ns).sum();
    assert!((blocked.iter().sum::<f64>() - total as f64 / 1e6).abs() < 1e-9, "{blocked:?}");
    let log = browser.value("document.querySelector('#latency-25')._fullLayout.xaxis.type");
    assert_eq!(log, "log");

    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert!(
        browser.requests().iter().all(|url| url.starts_with("file:") || url.starts_with("data:")),
        "{:?}",
        browser.requests()
    );
}

#[test]
fn the_pointer_is_told_source_vector_start_and_duration() {
    let Some((mut browser, _directory)) = open(&sample::report()) else { return };
    plot_area(&mut browser);
    let wait = browser.numbers(
        "(() => { const chart = document.querySelector('#timeline-0'), l = chart._fullLayout, \
         t = chart.data.find(t => t.name === \"dom0's interrupt waits\"), i = t.x.indexOf(Math.max(...t.x)), \
         r = chart.querySelector('.nsewdrag').getBoundingClientRect(); \
         return [r.left + l.xaxis.d2p(t.base[i] + t.x[i] / 2), r.top + l.yaxis.d2p(t.y[i] + t.offset + t.width / 2)]; })()",
    );
    browser.mouse("mouseMoved", (wait[0] - 3.0, wait[1]));
    browser.mouse("mouseMoved", (wait[0], wait[1]));
    browser.wait_until("document.querySelector('#timeline-0 .hovertext')");
    let said = browser.value("document.querySelector('#timeline-0 .hovertext').textContent");
    let said = said.as_str().expect("a text");
    for part in ["megaraid_sas C8 waits for e1000 INTx D0", "dom0's interrupt waits", "pCPU 3", "from ", "lasts "] {
        assert!(said.contains(part), "{part:?} is missing in {said:?}");
    }
}

#[test]
fn both_colour_schemes_can_be_read() {
    let Some((mut browser, _directory)) = open(&sample::report()) else { return };
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.colour_scheme(scheme);
        browser.wait_until(&format!("matchMedia('(prefers-color-scheme: {scheme})').matches"));
        grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        let worst = browser.value(WORST_CONTRAST);
        assert!(worst[0].as_f64().expect("a contrast") >= 4.5, "{scheme}: {worst}");
    }
    assert_ne!(grounds[0], grounds[1]);
}

#[test]
fn a_label_from_a_dump_runs_no_script() {
    let mut report = sample::report();
    let attack = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>";
    report.title = attack.to_owned();
    for run in &mut report.results {
        run.policy.push_str(attack);
        for source in &mut run.sources {
            source.label.push_str(attack);
        }
        for span in run.timeline.iter_mut().flat_map(|lane| &mut lane.spans) {
            span.label.push_str(attack);
        }
        run.blocking.iter_mut().for_each(|one| one.cause.push_str(attack));
    }
    let Some((mut browser, _directory)) = open(&report) else { return };
    let [left, top, width, height] = plot_area(&mut browser);
    for step in 1..=9 {
        browser.mouse("mouseMoved", (left + width * f64::from(step) / 10.0, top + height * 0.1));
    }
    assert_eq!(browser.value("typeof window.broken"), "undefined");
    assert_eq!(browser.value("document.querySelectorAll('img[src=x]').length"), 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
