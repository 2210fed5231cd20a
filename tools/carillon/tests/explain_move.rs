//! `carillon explain move`, as people and programs ask for it.

use std::process::Command;
use std::process::Output;

use serde_json::Value;

fn explain(arguments: &[&str]) -> Output {
    let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
    program.args(["explain", "move"]).args(arguments).output().expect("the program runs")
}

fn json(arguments: &[&str]) -> Value {
    let output = explain(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn programs_get_every_step_with_its_reason_and_source() {
    for engine in ["posted", "avic", "remapped", "event-channel"] {
        let plan = json(&["--engine", engine, "--from", "2", "--to", "9", "--interrupts", "3", "--json"]);
        assert_eq!((&plan["engine"], &plan["from"], &plan["to"]), (&engine.into(), &2.into(), &9.into()));
        let steps = plan["steps"].as_array().expect("steps");
        assert!(steps.len() >= 4, "{engine}");
        for (number, step) in (1..).zip(steps) {
            assert_eq!(step["number"], number);
            for part in ["stage", "step", "reason", "source"] {
                assert!(step[part].as_str().is_some_and(|text| !text.is_empty()), "{engine}, step {number}: {part}");
            }
        }
        let text = String::from_utf8(explain(&["--engine", engine, "--from=2", "--to=9", "--interrupts=3"]).stdout);
        let text = text.expect("UTF-8");
        for step in steps {
            assert!(text.contains(step["step"].as_str().expect("text")), "{engine}: {step} is not on the page");
        }
    }
}

#[test]
fn a_move_that_is_none_or_too_much_says_so() {
    for (arguments, code, says) in [
        (&["--from", "3", "--to", "3"][..], 1, "on CPU 3 already"),
        (&["--engine", "remapped", "--to", "4294967295"], 1, "1 to 4096 CPUs"),
        (&["--engine", "software"], 2, "event-channel"),
        (&["--interrupts", "1000"], 2, "128"),
    ] {
        let output = explain(arguments);
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}
