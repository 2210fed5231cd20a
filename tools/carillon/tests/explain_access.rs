//! `carillon explain apic-write` and `apic-read`, as users meet them.

use std::process::Command;
use std::process::Output;

use serde_json::Value;

const ENGINES: [&str; 6] = ["software", "apicv", "posted", "ipiv", "avic", "avic-erratum-1235"];

fn explain(args: &[&str]) -> Output {
    let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
    program.arg("explain").args(args).output().expect("the program runs")
}

fn says(args: &[&str]) -> String {
    let output = explain(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&says(args)).expect("JSON")
}

fn complains(args: &[&str], code: i32) -> String {
    let output = explain(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_write_of_icr_under_ipi_virtualization_names_exit_reason_and_manual() {
    let page = says(&["apic-write", "300", "--engine", "ipiv"]);
    for part in [
        "offset 300h, xapic mode",
        "MSR 830h, x2apic mode",
        "• to one physical destination, the target is in the table: virtualized",
        "exits after: reason 56, APIC write, qualification 300h",
        "• with a reserved bit: general-protection fault",
        "[SDM vol. 3C, 30.1.6]",
    ] {
        assert!(page.contains(part), "{part} is not in:\n{page}");
    }
}

#[test]
fn without_an_engine_all_stand_side_by_side() {
    let page = says(&["apic-write", "EOI", "--mode", "x2apic"]);
    for engine in ENGINES {
        assert!(page.contains(engine), "{engine}");
    }
    assert!(page.contains("reason 45") && page.contains("code 402h") && page.contains("code 7Ch"), "{page}");
}

#[test]
fn a_command_with_a_value_is_judged_for_that_value() {
    let outcome = |value: &str| {
        let answer = json(&["apic-write", "0x830", "--engine", "ipiv", "--value", value, "--json"]);
        let cases = answer[0]["engines"][0]["cases"].as_array().expect("cases").clone();
        cases.iter().map(|case| case["outcome"].as_str().expect("an outcome").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(outcome("0x100000051"), ["virtualized", "exits after"]);
    assert_eq!(outcome("0xc0051"), ["exits after"]);
    assert_eq!(outcome("0x100100051"), ["general-protection fault"]);
    let page = says(&["apic-write", "icr", "--mode", "xapic", "--value", "0x0200000000000851"]);
    assert!(page.contains("to logical destination 2h"), "{page}");
}

#[test]
fn every_engine_answers_for_every_place_in_both_modes_and_directions() {
    for access in ["apic-read", "apic-write"] {
        for offset in (0..0x1000).step_by(0x70) {
            let answer = json(&[access, &format!("{offset:#x}"), "--mode", "xapic", "--json"]);
            let engines = answer[0]["engines"].as_array().expect("engines");
            let names: Vec<&str> = engines.iter().filter_map(|engine| engine["engine"].as_str()).collect();
            assert_eq!(names, ENGINES, "{access} {offset:#x}");
            for engine in engines {
                let cases = engine["cases"].as_array().expect("cases");
                assert!(!cases.is_empty());
                for case in cases {
                    let has_exit = case["outcome"].as_str().is_some_and(|outcome| outcome.starts_with("exits"));
                    assert_eq!(case["exit"].is_string(), has_exit, "{case}");
                }
            }
        }
    }
}

#[test]
fn json_may_be_asked_for_before_or_after() {
    assert_eq!(says(&["--json", "apic-read", "TPR"]), says(&["apic-read", "TPR", "--json"]));
}

#[test]
fn bad_input_says_what_is_wrong_and_what_would_be_right() {
    for (args, code, says) in [
        (&["apic-write", "304"][..], 1, "16 bytes apart"),
        (&["apic-write", "0xfee00300"], 1, "MSRs from 0x800 to 0x8ff"),
        (&["apic-read", "PRT"], 1, "TPR"),
        (&["apic-write", "svr", "--mode", "xapic", "--value", "0x100000000"], 1, "32 bits"),
        (&["apic-write", "icr", "--value", "all"], 2, "0xc0051"),
        (&["apic-write", "icr", "--engine", "best"], 2, "avic-erratum-1235"),
        (&["apic-read", "icr", "--value", "1"], 2, "--value"),
        (&["apic-write"], 2, "REGISTER"),
        (&["TPR", "apic-read", "TPR"], 1, "'TPR apic-read TPR' is no vector"),
    ] {
        let complaint = complains(args, code);
        assert!(complaint.contains(says), "{args:?}: {complaint}");
    }
}
