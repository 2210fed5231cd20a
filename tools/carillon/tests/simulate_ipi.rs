//! `carillon simulate ipi`, as users meet it.

use std::process::Command;
use std::process::Output;

use serde_json::Value;

fn simulate(args: &[&str]) -> Output {
    let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
    program.args(["simulate", "ipi"]).args(args).output().expect("the program runs")
}

fn json(args: &[&str]) -> Value {
    let output = simulate(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn the_published_reductions_come_out_within_two_points() {
    let answer = json(&["--turns", "100"]);
    for (row, (mode, percent)) in
        answer["table"].as_array().expect("rows").iter().zip([("xapic", 22.21), ("x2apic", 15.98)])
    {
        assert_eq!(row["mode"], mode);
        assert!((number(&row["published"]["reduction_percent"]) - percent).abs() < 0.005, "{row}");
        assert!((number(&row["model"]["reduction_percent"]) - percent).abs() < 2.0, "{row}");
        assert!(number(&row["error_points"]).abs() < 2.0, "{row}");
    }
    let fast: Vec<f64> =
        answer["fast_path"].as_array().expect("rows").iter().map(|row| number(&row["model_cycles"])).collect();
    assert_eq!(fast.iter().map(|cycles| cycles.round()).collect::<Vec<_>>(), [4238.0, 3543.0, 3293.0]);
}

#[test]
fn a_page_has_table_steps_runs_and_distributions() {
    let output = simulate(&["--turns", "100"]);
    let page = String::from_utf8(output.stdout).expect("UTF-8");
    for part in [
        "6059 → 4713 (−22.21 %)",
        "4338 → 3645 (−15.98 %)",
        "fast path 3293 < IPI virtualization 3622 < exit path 4317",
        "page_access",
        "fitted on the table",
        "The microbenchmark, x2apic mode",
        "Against the software fast path",
        "broadcast, lock: cycles that so many turns take at most",
    ] {
        assert!(page.contains(part), "{part} is not in:\n{page}");
    }
}

#[test]
fn a_seed_and_a_choice_of_engines_are_kept_to() {
    let mean = |answer: &Value| number(&answer["engines"][0]["modes"][2]["mean_cycles"]);
    let run = |seed| json(&["--engine", "ipiv", "--turns", "500", "--seed", seed]);
    assert_eq!(run("3"), run("3"));
    assert_ne!(mean(&run("3")), mean(&run("4")));
    let two = json(&["--engine", "avic,software", "--turns", "10", "--mode", "xapic"]);
    let names: Vec<&Value> =
        two["engines"].as_array().expect("engines").iter().map(|engine| &engine["engine"]).collect();
    assert_eq!(names, ["avic", "software"]);
}

#[test]
fn a_report_is_one_file_with_the_distributions() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("ipi.html");
    let name = file.to_str().expect("UTF-8");
    assert!(simulate(&["--turns", "10", "--report", name]).status.success());
    let page = std::fs::read_to_string(&file).expect("the report");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("posted-fast-path") && page.contains("ipi-3"));
    assert!(page.contains("8 vCPUs, 10 turns, seed 1, x2apic mode, broadcasts by shorthand"));
    let nowhere = simulate(&["--turns", "10", "--report", "/nonexistent/ipi.html"]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn commands_to_each_win_under_ipi_virtualization_what_a_shorthand_loses() {
    let mean = |engine, broadcast| {
        let answer = json(&["--engine", engine, "--turns", "200", "--vcpus", "4", "--broadcast", broadcast]);
        number(&answer["engines"][0]["modes"][3]["mean_cycles"])
    };
    assert!(mean("ipiv", "each") < mean("ipiv", "shorthand"));
    assert!(mean("posted", "each") > mean("posted", "shorthand"));
}

#[test]
fn what_cannot_be_run_says_why() {
    for (args, code, says) in [
        (&["--vcpus", "1"][..], 1, "takes 2 to 512"),
        (&["--vcpus", "300", "--mode", "xapic"], 1, "takes 2 to 255"),
        (&["--turns", "0"], 1, "1 turn to"),
        (&["--turns", "4000000000"], 1, "1 turn to"),
        (&["--engine", "fastest"], 2, "posted-fast-path"),
        (&["--broadcast", "none"], 2, "shorthand"),
    ] {
        let output = simulate(args);
        let complaint = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {complaint}");
        assert!(complaint.contains(says), "{args:?}: {complaint}");
    }
}
