//! `carillon simulate move`, as people and programs ask for it.

use std::process::Command;
use std::process::Output;

use serde_json::Value;

const ENGINES: [&str; 4] = ["posted", "avic", "remapped", "event-channel"];

fn simulate(arguments: &[&str]) -> Output {
    let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
    program.args(["simulate", "move"]).args(arguments).output().expect("the program runs")
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(arguments: &[&str], code: i32) -> Value {
    let output = simulate(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn passages<'a>(answer: &'a Value, what: &str) -> Vec<&'a Value> {
    let all = answer["passages"].as_array().expect("passages");
    all.iter().filter(|passage| passage["what"] == what).collect()
}

#[test]
fn every_engine_moves_under_interrupts_at_every_step_and_loses_none() {
    for engine in ENGINES {
        let arguments = ["--engine", engine, "--from", "2", "--to", "9", "--interrupts", "3", "--every-step"];
        let answer = json(&arguments, 0);
        let steps = passages(&answer, "step");
        assert_eq!(passages(&answer, "interrupt").len(), 4 * (steps.len() + 3), "{engine}");
        assert_eq!((&answer["ends_on"], &answer["lost"]), (&9.into(), &Value::Array(vec![])));
        let page = text(simulate(&arguments));
        for step in steps {
            assert!(page.contains(step["step"].as_str().expect("text")), "{engine}: {step} is not on the page");
        }
        for effect in passages(&answer, "interrupt").iter().flat_map(|one| one["effects"].as_array().expect("effects"))
        {
            assert!(page.contains(effect.as_str().expect("text").split(' ').next().expect("a word")), "{effect}");
        }
        assert!(page.contains("None of "), "{page}");
    }
}

#[test]
fn a_step_that_fails_shows_where_things_stand_and_the_way_back() {
    for (engine, step, standing) in [
        ("posted", "1", "the vCPU is on no CPU and must not run; what comes for it waits"),
        ("remapped", "1", "the vCPU and its sources are where they were; vectors may be taken on the new CPU"),
        ("avic", "5", "the vCPU is on no CPU and must not run; what comes for it waits"),
        (
            "event-channel",
            "5",
            "the vCPU is on the new CPU, some of its sources are sent to the old one, and nothing is lost",
        ),
    ] {
        let answer = json(&["--engine", engine, "--fail-at", step, "--every-step"], 0);
        let failures = passages(&answer, "failure");
        assert_eq!((failures[0]["standing"].as_str(), &answer["ends_on"]), (Some(standing), &0.into()), "{engine}");
        let page = text(simulate(&["--engine", engine, "--fail-at", step, "--every-step"]));
        assert!(page.contains(&format!("step {step} fails: ")) && page.contains("vCPU 0 runs on CPU 0."), "{page}");
    }
}

#[test]
fn a_step_that_is_left_out_shows_what_is_lost_without_it() {
    for (engine, step, moment, lost) in
        [("posted", "3", "2", 2), ("posted", "1", "2", 0), ("event-channel", "2", "9", 1), ("avic", "4", "10", 1)]
    {
        let arguments = ["--engine", engine, "--without", step, "--interrupt-at", moment];
        let answer = json(&arguments, if lost == 0 { 0 } else { 3 });
        assert_eq!(answer["lost"].as_array().expect("a list").len(), lost, "{engine}: {answer:#}");
        let page = text(simulate(&arguments));
        assert!(page.contains("left out") && page.contains(&format!("{lost} of 2 interrupts are lost")) == (lost > 0));
    }
}

#[test]
fn equal_seeds_give_equal_moves_and_options_may_stand_before_the_word() {
    let drawn = |seed| json(&["--engine", "avic", "--seed", seed], 0);
    assert_eq!(drawn("7"), drawn("7"));
    assert_ne!(drawn("7")["passages"], drawn("8")["passages"]);
    let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
    let words = ["simulate", "--seed", "7", "--json", "move", "--engine", "avic"];
    let output = program.args(words).output().expect("the program runs");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).expect("JSON"), drawn("7"));
}

#[test]
fn a_move_that_cannot_be_says_so() {
    for (arguments, code, says) in [
        (&["--from", "3", "--to", "3"][..], 1, "on CPU 3 already"),
        (&["--to", "4096"], 2, "4096"),
        (&["--engine", "software"], 2, "event-channel"),
        (&["--interrupts", "129"], 2, "128"),
        (&["--fail-at", "3"], 1, "step 3 cannot fail, look at PIR"),
        (&["--without", "6"], 1, "the plan has steps 1 to 5"),
        (&["--interrupt-at", "1,8"], 1, "the plan has moments 0 to 7"),
        (&["--every-step", "--seed", "2"], 2, "--seed"),
    ] {
        let output = simulate(arguments);
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}
