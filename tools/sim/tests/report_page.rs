//! The page as a file: complete, self-contained, and deaf to markup in labels.

mod sample;

use carillon_sim::ipi::Bench;
use carillon_sim::ipi::Contender;
use carillon_sim::ipi::Fit;
use carillon_sim::ipi::Mode;
use carillon_sim::ipi::Sending;
use carillon_sim::report;
use carillon_sim::report::Finding;
use carillon_sim::report::IpiReport;
use carillon_sim::report::Parameter;
use carillon_sim::report::Remaining;
use carillon_sim::report::Report;
use carillon_sim::report::ReportError;
use hypervisor_lib::delivery::GuestMode;

/// The page without the chart library, whose licence texts and dead code name many addresses.
fn own_part(page: &str) -> String {
    let start = page.find("<script type=\"text/javascript\">").expect("the chart library");
    let end = page.find("</script>").expect("its end");
    assert!(end - start > 1_000_000, "the chart library comes first");
    format!("{}{}", &page[..start], &page[end..])
}

fn page(report: &Report) -> String {
    own_part(&report::html(report).expect("a page"))
}

#[test]
fn the_page_refers_to_nothing_outside_itself() {
    let html = report::html(&sample::report()).expect("a page");
    let own = own_part(&html);
    for reference in ["http:", "https:", "src=", "href=", "@import", "url(", "<link", "<iframe", "fetch("] {
        assert!(!own.contains(reference), "{reference} is in the page");
    }
    assert!(own.contains("default-src 'none'"), "the page must forbid the network to itself and to the chart library");
    assert!(!html.contains("MathJax.loader"), "the typesetter of formulae doubles the page for nothing");
}

#[test]
fn the_page_of_ipis_refers_to_nothing_outside_itself_and_draws_every_run() {
    let fit = Fit::published().expect("it can be fitted");
    let runs = |contender: Contender| {
        let (apic, sending) = (GuestMode::X2Apic, Sending::Shorthand);
        let bench = Bench { fit: &fit, contender, apic, vcpus: 2, turns: 10, sending, seed: 1 };
        (contender.name().to_owned(), Mode::ALL.map(|mode| bench.run(mode).expect("a run")).to_vec())
    };
    let engines: Vec<_> = Contender::ALL.into_iter().map(runs).collect();
    let report = IpiReport { about: vec!["<b>".to_owned()], engines, version: "1".into() };
    let own = own_part(&report::ipi_html(&report).expect("a page"));
    for reference in ["http:", "https:", "src=", "href=", "@import", "url(", "<link", "<iframe", "fetch("] {
        assert!(!own.contains(reference), "{reference} is in the page");
    }
    assert!(own.contains("default-src 'none'") && own.contains("&lt;b&gt;") && !own.contains("<p><b>"));
    let modes = Mode::ALL.len() - 1;
    assert!((0..modes).all(|index| own.contains(&format!("id=\"ipi-{index}\""))));
    assert_eq!(
        own.matches("100 % take at most").count(),
        modes * Contender::ALL.len(),
        "a line an engine, a chart a mode"
    );
    let without = IpiReport { engines: vec![], ..report };
    assert!(matches!(report::ipi_html(&without), Err(ReportError::NoRuns { .. })));
}

#[test]
fn the_page_says_before_and_after_in_its_first_sentence() {
    let report = sample::report();
    let own = page(&report);
    let headline = own.split("<h1>").nth(1).and_then(|rest| rest.split("</h1>").next()).expect("a headline");
    let total: u64 = report.results[0].blocking.iter().map(|one| one.total_ns).sum();
    let after: u64 = report.results[1].blocking.iter().map(|one| one.total_ns).sum();
    assert!(headline.contains(&report::format::duration(total)), "{headline}");
    assert!(headline.contains(&report::format::duration(after)), "{headline}");
    assert!(headline.contains("planned"), "{headline}");
}

#[test]
fn the_planned_run_stands_for_after_wherever_it_stands() {
    let mut report = sample::report();
    report.results.push(sample::run("spread"));
    assert!(page(&report).contains("with “planned”"));
}

#[test]
fn a_single_run_has_no_after() {
    let mut report = sample::report();
    report.results.truncate(1);
    let own = page(&report);
    assert!(!own.contains("with “"));
    assert!(own.contains("In 400 ms guests&#39; interrupts kept dom0&#39;s waiting"));
}

#[test]
fn plan_remainder_parameters_and_seed_are_on_the_page() {
    let mut report = sample::report();
    report.seed = 987_654_321;
    report.plan.remaining = vec![Remaining {
        what: "serial line F1".to_owned(),
        constraint: "its vector is reserved on every CPU".to_owned(),
    }];
    report.parameters.push(Parameter {
        name: "wake-up".to_owned(),
        value: 2_750.0,
        unit: "ns".to_owned(),
        source: "measured".to_owned(),
    });
    let own = page(&report);
    for text in [
        "D0 on pCPU 3",
        "28 on pCPU 3",
        "its vector is reserved on every CPU",
        "2750",
        "seed 987654321",
        "external interrupt",
    ] {
        assert!(own.contains(text), "{text} is missing");
    }
}

#[test]
fn no_label_becomes_markup_or_script() {
    let mut report = sample::report();
    let attack = "</script><script>alert(1)</script>";
    report.title.push_str(attack);
    report.version.push_str(attack);
    report.plan.moves[0].reason.push_str(attack);
    report.plan.moves[0].source.push_str(attack);
    report.before[0].guest.push_str(attack);
    report.parameters[0].source.push_str(attack);
    let clean = page(&sample::report()).matches("<script").count();
    for run in &mut report.results {
        run.policy.push_str(attack);
        run.path.push_str(attack);
        run.sources.iter_mut().for_each(|source| source.label.push_str(attack));
        run.blocking.iter_mut().for_each(|one| one.cause.push_str(attack));
        run.exits.iter_mut().for_each(|count| count.name.push_str(attack));
        run.scheduling.iter_mut().for_each(|one| one.vcpu.push_str(attack));
        run.timeline.iter_mut().flat_map(|lane| &mut lane.spans).for_each(|span| span.label.push_str(attack));
    }
    let own = page(&report);
    assert!(!own.contains("<script>alert"));
    assert_eq!(own.matches("<script").count(), clean);
    assert!(own.contains("&lt;script&gt;alert"));
}

#[test]
fn a_timeline_that_reached_its_limit_says_so() {
    let mut report = sample::report();
    let note = "The recording reached its limit";
    assert!(!page(&report).contains(note));
    report.results[1].timeline_is_cut = true;
    assert_eq!(page(&report).matches(note).count(), 1);
}

#[test]
fn a_report_without_runs_is_refused_by_its_title() {
    let mut report = sample::report();
    report.results.clear();
    let error = report::html(&report).expect_err("nothing to show");
    assert!(matches!(error, ReportError::NoRuns { ref title } if *title == report.title));
    assert_eq!(error.to_string(), "report \"xen-sas-intx, recorded host with 4 pCPUs\" has no run to show");
}

#[test]
fn figures_at_the_end_of_their_range_do_not_panic() {
    let mut report = sample::report();
    for run in &mut report.results {
        run.duration_ns = u64::MAX;
        for one in &mut run.blocking {
            (one.total_ns, one.max_ns, one.times) = (u64::MAX, u64::MAX, u64::MAX);
        }
        for span in run.timeline.iter_mut().flat_map(|lane| &mut lane.spans).take(5) {
            (span.start_ns, span.end_ns) = (u64::MAX, 0);
        }
        run.sources[0].latency.cdf = vec![(0, 0.0), (u64::MAX, f64::NAN)];
    }
    report::html(&report).expect("a page");
}

#[test]
fn a_report_survives_a_file() {
    let report = sample::report();
    let json = serde_json::to_string(&report).expect("JSON");
    assert!(serde_json::from_str::<Report>(&json).expect("a report") == report, "the report changed on its way");
}

#[test]
fn a_host_with_more_findings_than_a_table_can_show_is_counted_in_full_and_says_what_is_left_out() {
    let mut report = sample::report();
    let one = report.before.iter().find(|finding| finding.kind == "rank").expect("a rank inversion").clone();
    report.after.clear();
    report.before = (0..1234).map(|number| Finding { guest: format!("nic-{number}"), ..one.clone() }).collect();
    let stays = Finding { guest: "the one that stays".to_owned(), ..one };
    report.before.push(stays.clone());
    report.after.push(stays);
    let own = page(&report);
    assert!(own.contains("<span>1,235</span>"), "the card counts all");
    assert!(own.contains("the one that stays"), "what a person has to act on comes first");
    assert!(own.contains("… and 1,035 more."), "200 of 1235 are listed");
}

/// A source that can hold back two of dom0's is one source and two findings: a figure of findings says that it counts pairs.
#[test]
fn the_cards_count_pairs_and_say_so() {
    let report = sample::report();
    let own = page(&report);
    let cards: Vec<&str> = own.split("<div class=\"card\">").skip(1).collect();
    for (kind, name) in
        [("rank", "pairs with the guest&#39;s vector above"), ("retention", "pairs in which the guest can retain")]
    {
        let count = report.before.iter().filter(|finding| finding.kind == kind).count();
        let guests: std::collections::BTreeSet<&str> =
            report.before.iter().filter(|finding| finding.kind == kind).map(|finding| finding.guest.as_str()).collect();
        assert!(kind != "retention" || guests.len() < count, "one source is in several pairs");
        let card = cards.iter().find(|card| card.contains(name)).unwrap_or_else(|| panic!("no card of {name}"));
        assert!(card.contains(&format!("<span>{count}</span>")), "{card}");
    }
}
