//! The program as its users meet it: what it prints, how it ends, and what it says of bad input.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

fn carillon(args: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("carillon")).args(args).output().expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// What the program prints on `args`, which must end with `code`.
fn says(args: &[&str], code: i32) -> String {
    let output = carillon(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", error(&output));
    text(&output)
}

/// What the program says on the standard error on `args`, which must end with `code`.
fn complains(args: &[&str], code: i32) -> String {
    let output = carillon(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output));
    error(&output)
}

fn json(args: &[&str], code: i32) -> Value {
    serde_json::from_str(&says(args, code)).expect("JSON")
}

/// The part of a text from one heading to another.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let begin = text.find(from).unwrap_or_else(|| panic!("{from} is not in:\n{text}"));
    let end = text[begin..].find(to).map_or(text.len(), |end| begin + end);
    &text[begin..end]
}

/// A directory with a recorded host's IRQ dump, but for the lines that contain one of `without`.
fn host(without: &[&str]) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/data/xen-sas-nic/dump-i.txt");
    let dump = fs::read_to_string(recorded).expect("the recorded dump");
    let kept: Vec<&str> = dump.lines().filter(|line| !without.iter().any(|word| line.contains(word))).collect();
    fs::write(directory.path().join("dump-i.txt"), kept.join("\n") + "\n").expect("a file");
    directory
}

fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_main_job_shows_the_cards_vectors_above_dom0s_and_that_nothing_retains() {
    let all = says(&[], 0);
    let nic = between(&all, "xen-sas-nic", "xen-sas-intx");
    let cpu0 = between(nic, "pCPU 0:", "pCPU 1:");
    let place = |vector: &str| cpu0.find(vector).unwrap_or_else(|| panic!("{vector} in {cpu0}"));
    assert!(place(" E0 ") < place(" D8 ") && place(" D8 ") < place(" 68 "), "in the order of service");
    let harms = between(nic, "Where a guest outranks", "Who keeps");
    for (guest, dom0) in [("D8 eth0-rxtx-0 (d1)", "C8 megasas1-msix0"), ("E0 eth0-event-1 (d1)", "B8 ioc0")] {
        let is_possible =
            |line: &str| line.contains("possible inversion") && line.contains(guest) && line.contains(dom0);
        assert!(harms.lines().any(is_possible), "{guest} against {dom0}");
    }
    assert!(harms.lines().any(|line| line.contains("rank inversion") && line.contains("D8 eth0-rxtx-0 (d1)")));
    assert!(nic.contains("No guest's source retains"));
    assert!(between(nic, "Plan\n", "Simulated").contains("vector D8 -> 31"));
    assert!(nic.contains("recorded: ") && nic.contains("planned: "));
}

#[test]
fn the_main_job_shows_which_of_dom0s_vectors_a_level_triggered_card_can_block_and_ends_it() {
    let all = says(&[], 0);
    let intx = between(&all, "xen-sas-intx", "What to do next");
    let retention = between(intx, "Who keeps", "Plan\n");
    assert!(retention.contains("D0 eth0 (d1) keeps it until its guest is done, at most 1.00 ms"));
    let now = retention.lines().find(|line| line.contains("blocks now")).expect("what it blocks");
    assert!(now.contains("C8 megasas1-msix0 (dom0)") && now.contains("B8 ioc0 (dom0)"), "{now}");
    assert!(between(intx, "Plan\n", "Simulated").contains("vector D0 -> 31"));
    assert!(intx.contains("recorded: guests' interrupts kept dom0's waiting"));
    assert!(intx.contains("planned: no guest's interrupt kept one of dom0's waiting"));
}

#[test]
fn the_commands_the_main_job_names_next_are_commands() {
    let all = says(&[], 0);
    let next = between(&all, "What to do next", "The program is");
    let commands: Vec<&str> = next.lines().filter_map(|line| line.trim().strip_prefix("carillon ")).collect();
    assert!(commands.len() >= 5);
    for command in commands {
        let words: Vec<&str> = command.split("  ").next().into_iter().flat_map(str::split_whitespace).collect();
        says(&[&words[..], &["--help"]].concat(), 0);
    }
}

#[test]
fn every_command_speaks_json() {
    let directory = TempDir::new().unwrap();
    let out = path(&directory, "sweep.jsonl");
    let hosts = json(&["inspect", "--json"], 3);
    assert_eq!(hosts[0]["name"], "xen-sas-nic");
    let nic = hosts[0]["cpus"][0]["vectors"].as_array().unwrap().iter().find(|row| row["vector"] == "D8").unwrap();
    assert!(
        nic["path"] == "physical IRQ as event" && nic["reason"].as_str().unwrap().contains("no local APIC"),
        "{nic}"
    );
    assert_eq!(hosts[1]["retention"][0]["guest"]["vector"], "D0");
    assert_eq!(json(&["plan", "--json"], 0)[1]["moves"][0]["source"]["device"], "eth0");
    assert_eq!(json(&["capacity", "--json"], 0)["fits"], true);
    let runs = json(&["simulate", "question-2013", "--for", "5ms", "--json"], 0);
    assert_eq!(runs[0]["runs"][0]["duration_ns"], 5_000_000);
    let sweep = ["sweep", "retention", "--for", "2ms", "--path", "as-is", "--out", &out, "--json"];
    assert_eq!(json(&sweep, 0)["points"].as_array().unwrap().len(), 5);
    assert_eq!(json(&["explain", "PPR", "--json"], 0)[0]["title"], "PPR: processor priority register");
    assert!(json(&["scenarios", "--json"], 0).as_array().unwrap().len() >= 7);
    assert_eq!(json(&["scenarios", "retention", "--json"], 0)["name"], "retention");
}

#[test]
fn a_host_without_a_guests_device_is_fine() {
    let host = host(&["d1:", "PCI-MSI/-X"]);
    let directory = host.path().to_str().unwrap();
    assert!(says(&["inspect", "--from", directory], 0).contains("Nowhere"));
    assert!(says(&["plan", "--from", directory], 0).contains("nothing to mend"));
}

#[test]
fn a_plan_that_mends_all_ends_well_and_one_that_cannot_says_what_stops_it() {
    let all = says(&["plan", "--recorded", "xen-sas-intx", "--steps"], 0);
    assert!(all.contains("reserve 31") && all.contains("drain D0") && all.contains("0 after"));
    let some = says(&["plan", "--recorded", "xen-sas-intx", "--movers", "guests"], 3);
    assert!(some.contains("What remains, and what stops it") && some.contains("--pin anyone"), "{some}");
    let pinned = says(&["plan", "--recorded", "xen-sas-intx", "--movers", "guests", "--pin", "anyone"], 0);
    assert!(pinned.contains("keep it to pCPUs {0}"), "{pinned}");
    let none = says(&["plan", "--recorded", "xen-sas-nic", "--mend", "retention", "--keep-cpus"], 0);
    assert!(none.contains("nothing to mend") && none.contains("not to be mended there are 18"), "{none}");
}

#[test]
fn a_pin_says_which_vcpu_it_pins_and_what_else_that_keeps_there() {
    let hosts = json(&["inspect", "--recorded", "xen-sas-intx", "--json"], 3);
    let on = |vcpu: &str| {
        let rows = hosts[0]["cpus"].as_array().unwrap().iter().flat_map(|cpu| cpu["vectors"].as_array().unwrap());
        let follow = rows.filter(|row| row["vcpu"] == vcpu).map(|row| row["irq"].as_u64().unwrap());
        follow.collect::<BTreeSet<u64>>()
    };
    let args = ["plan", "--recorded", "xen-sas-intx", "--movers", "guests", "--pin", "anyone"];
    let plan = json(&[&args[..], &["--json"]].concat(), 0);
    let moves = plan[0]["moves"].as_array().unwrap();
    let pins: Vec<_> = moves.iter().filter(|step| !step["change"]["pin"].is_null()).collect();
    assert!(!pins.is_empty());
    for step in pins {
        let pin = &step["change"]["pin"];
        let own = step["source"]["irq"].as_u64().unwrap();
        let also = pin["also"].as_array().unwrap().iter().map(|source| source["irq"].as_u64().unwrap());
        let kept: BTreeSet<u64> = also.chain([own]).collect();
        assert_eq!(kept, on(pin["vcpu"].as_str().unwrap()), "{pin}");
        assert!(kept.len() > 1, "the host has sources that share a vCPU");
    }
    let page = says(&args, 0);
    assert!(page.contains("so do 68 acpi (dom0), B8 ioc0 (dom0): they are kept there too"), "{page}");
    assert_eq!(page.matches("xl vcpu-pin 0 3 0").count(), 1, "one command pins a vCPU: {page}");
    assert!(page.contains("it follows d0v3 too: the command of move 1 is all it takes"), "{page}");
}

#[test]
fn a_file_beside_the_answer_that_cannot_be_written_is_named_before_the_time_is_spent() {
    let directory = TempDir::new().unwrap();
    let there = path(&directory, "no/such/place");
    for args in [
        &["simulate", "retention", "--for", "1ms", "--report", &there][..],
        &["simulate", "retention", "--for", "1ms", "--trace", &there],
        &["sweep", "retention", "--for", "1ms", "--out", &path(&directory, "sweep.jsonl"), "--csv", &there],
    ] {
        let error = complains(args, 1);
        assert!(error.contains(&format!("{there} cannot be written")), "{error}");
    }
    for args in [
        ["simulate", "retention", "--for", "1ms", "--report", "/dev/full"],
        ["simulate", "retention", "--for", "1ms", "--trace", "/dev/full"],
    ] {
        let error = complains(&args, 1);
        assert!(error.contains("/dev/full cannot be written") && error.contains("No space left"), "{error}");
    }
}

#[test]
fn a_dump_that_breaks_off_is_named_with_its_line() {
    let host = host(&[]);
    let file = host.path().join("dump-i.txt");
    let dump = fs::read_to_string(&file).unwrap().replace("vec:d8", "vec:zz");
    let line = 1 + dump.lines().position(|line| line.contains("vec:zz")).expect("the card's line");
    fs::write(&file, dump).unwrap();
    let output = carillon(&["inspect", "--from", host.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let message = error(&output);
    assert!(message.contains(&format!("dump-i.txt:{line}: expected")), "{message}");
}

#[test]
fn what_is_not_there_is_named_and_the_way_to_it_too() {
    for (args, name, hint) in [
        (&["inspect", "--from", "/no/such/host"][..], "/no/such/host", "carillon explain dumps"),
        (&["simulate", "no-such-scenario"][..], "'no-such-scenario'", "carillon scenarios"),
        (&["scenarios", "no-such-scenario"][..], "'no-such-scenario'", "carillon scenarios"),
        (&["explain", "irrr"][..], "'irrr'", "IRR"),
        (&["simulate", "--report", "out.html"][..], "one host", "--recorded"),
    ] {
        let output = carillon(args);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.starts_with("carillon: ") && message.contains(name) && message.contains(hint), "{message}");
        assert!(text(&output).is_empty(), "nothing half done");
    }
}

#[test]
fn a_scenario_that_makes_no_sense_is_named_with_its_line() {
    let directory = TempDir::new().unwrap();
    let file = path(&directory, "mine.toml");
    let good = says(&["scenarios", "retention"], 0);
    fs::write(&file, &good).unwrap();
    says(&["simulate", &file, "--for", "1ms"], 0);
    fs::write(&file, good.replacen("vector = 0xd0", "vector = 0x0d", 1)).unwrap();
    let output = carillon(&["simulate", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("mine.toml:"), "{}", error(&output));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_is_expected() {
    for (args, expected) in [
        (&["simulate", "--policy", "best"][..], "below-dom0"),
        (&["simulate", "--for", "5"][..], "500ms"),
        (&["simulate", "--cost", "vmexit=9"][..], "carillon explain costs"),
        (&["sweep", "retention", "--out", "x", "--shard", "5/4"][..], "2/8"),
        (&["inspect", "--from", "x", "--recorded", "xen-sas-nic"][..], "cannot be used with"),
        (&["orchestrate"][..], "unrecognized subcommand"),
    ] {
        let output = carillon(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(error(&output).contains(expected), "{args:?}: {}", error(&output));
    }
}

#[test]
fn capacity_says_no_with_the_limit_that_binds_and_the_option_to_set() {
    let no = says(&["capacity", "--recorded", "xen-sas-nic", "--guests", "2", "--queues", "64", "--vcpus", "4"], 3);
    assert!(no.contains("It does not fit") && no.contains("extra_guest_irqs="), "{no}");
    assert!(says(&["capacity", "--queues", "8", "--pcpus", "8"], 0).contains("It fits"));
}

#[test]
fn colours_are_off_when_nobody_watches_and_can_be_forced() {
    assert!(!says(&["inspect"], 3).contains('\u{1b}'));
    assert!(says(&["inspect", "--color", "always"], 3).contains('\u{1b}'));
    assert!(!says(&["inspect", "--color", "never"], 3).contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("carillon"))
        .args(["inspect", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), error(&output).as_str()), (Some(3), ""));
}

#[test]
fn equal_seeds_give_equal_runs_and_other_seeds_other_ones() {
    let hash = |seed| {
        let args = ["simulate", "retention", "--for", "20ms", "--policy", "recorded", "--json", "--seed", seed];
        json(&args, 0)[0]["runs"][0]["trace_hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash("7"), hash("7"));
    assert_ne!(hash("7"), hash("8"));
}

#[test]
fn options_of_a_simulation_reach_it() {
    let run = |more: &[&str]| {
        let args = [&["simulate", "retention", "--for", "20ms", "--policy", "recorded", "--json"], more].concat();
        json(&args, 0)[0]["runs"][0].clone()
    };
    let plain = run(&[]);
    for more in
        [&["--load", "2"][..], &["--cost", "guest_bound_handler=5000"], &["--path", "remapped"], &["--seed", "5"]]
    {
        assert_ne!(run(more)["trace_hash"], plain["trace_hash"], "{more:?}");
    }
    assert_eq!(run(&["--load", "2"])["load"], 2.0);
    assert_eq!(run(&["--path", "remapped"])["path"], "remapped");
}

#[test]
fn the_question_of_2013_is_answered_in_every_path() {
    let args =
        ["simulate", "question-2013", "--policy", "recorded", "--for", "100ms", "--path", "event,remapped,posted"];
    let answer = says(&args, 0);
    assert!(answer.contains("Nowhere: no guest's vector can come above one of dom0's"), "{answer}");
    assert!(answer.contains("Vector 0x80 never reaches a host APIC"));
    let runs = json(&[&args[..], &["--json"]].concat(), 0);
    for run in runs[0]["runs"].as_array().unwrap() {
        let longest = run["blocking"].as_array().unwrap().iter().map(|wait| wait["max_ns"].as_u64().unwrap()).max();
        assert!(longest.is_none_or(|ns| ns < 5_000), "one handler at most: {longest:?} in {}", run["path"]);
    }
}

#[test]
fn all_engines_are_compared_on_one_workload() {
    let args = ["simulate", "engines", "--for", "20ms", "--engine", "all"];
    let answer = says(&args, 0);
    assert!(answer.contains("Engines: guests' interrupts, and what they cost"), "{answer}");
    let answer = json(&[&args[..], &["--json"]].concat(), 0);
    let runs = answer[0]["runs"].as_array().unwrap();
    let engines: Vec<&str> = runs.iter().map(|run| run["engine"].as_str().unwrap()).collect();
    assert_eq!(engines, ["software", "apicv", "posted", "ipiv", "avic"]);
    let exits =
        |run: &Value| run["exits"].as_array().unwrap().iter().map(|exit| exit["times"].as_u64().unwrap()).sum::<u64>();
    let [software, apicv, posted, ipiv, avic] = &runs[..] else { panic!("{engines:?}") };
    assert!(exits(software) > exits(apicv) && exits(apicv) > exits(posted) && exits(posted) > exits(ipiv));
    assert!(software["host_ns"].as_u64() > posted["host_ns"].as_u64());
    let without_exit = |run: &Value, source: usize| run["sources"][source]["without_exit"].as_u64().unwrap();
    assert!((0..2).all(|queue| without_exit(software, queue) == 0 && without_exit(avic, queue) > 0));
    // The same interrupts came under each.
    let raised =
        |run: &Value| run["sources"].as_array().unwrap().iter().map(|one| one["raised"].clone()).collect::<Vec<_>>();
    assert!(runs.iter().all(|run| raised(run) == raised(software)));
    assert_eq!(
        json(&["simulate", "engines", "--for", "1ms", "--engine", "avic", "--json"], 0)[0]["runs"][0]["path"],
        "posted"
    );
}

#[test]
fn a_report_and_a_trace_are_files_of_their_own() {
    let directory = TempDir::new().unwrap();
    let (report, trace) = (path(&directory, "out.html"), path(&directory, "out.json"));
    says(&["simulate", "--recorded", "xen-sas-intx", "--report", &report, "--trace", &trace], 0);
    let page = fs::read_to_string(&report).unwrap();
    for part in ["xen-sas-intx", "D0 eth0 (d1)", "vm_exit", "seed 1"] {
        assert!(page.contains(part), "{part} is not in the report");
    }
    let trace: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().or(trace.as_array()).is_some_and(|events| events.len() > 100));
    let output = carillon(&["simulate", "--recorded", "xen-sas-intx", "--report", "/no/such/directory/out.html"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("/no/such/directory/out.html cannot be written"));
}

#[test]
fn the_shards_of_a_sweep_put_together_are_the_sweep_and_nothing_is_run_twice() {
    let directory = TempDir::new().unwrap();
    let sweep = |file: &str, shard: &str| {
        let (out, csv) = (path(&directory, &format!("{file}.jsonl")), path(&directory, &format!("{file}.csv")));
        let points = ["--policy", "recorded,below-dom0", "--path", "as-is,posted", "--seed", "1,2", "--for", "3ms"];
        let files = ["--out", &out, "--csv", &csv, "--shard", shard];
        says(&[&["sweep", "question-2013"], &points[..], &files[..]].concat(), 0);
        (fs::read_to_string(out).unwrap(), fs::read_to_string(csv).unwrap())
    };
    let (whole, table) = sweep("whole", "1/1");
    assert_eq!(whole.lines().count(), 8);
    let parts = [sweep("first", "1/2"), sweep("second", "2/2")];
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&whole), sorted(&parts.iter().map(|(lines, _)| lines.as_str()).collect::<String>()));
    assert_eq!(sorted(&table), sorted(&parts.iter().map(|(_, rows)| rows.as_str()).collect::<String>()));
    assert_eq!(sweep("whole", "1/1").0, whole, "all points are there already");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = says(&["completions", shell], 0);
        assert!(script.contains("simulate") && script.contains("recorded"), "{shell}");
    }
    let directory = TempDir::new().unwrap();
    says(&["man", &path(&directory, "man1")], 0);
    for page in ["carillon.1", "carillon-inspect.1", "carillon-simulate.1", "carillon-capacity.1"] {
        assert!(fs::read_to_string(directory.path().join("man1").join(page)).unwrap().contains(".TH"), "{page}");
    }
}

#[test]
fn a_recording_without_a_trace_gets_no_all_clear() {
    let host = host(&[]);
    let answer = says(&["simulate", "--from", host.path().to_str().unwrap()], 0);
    assert!(answer.contains("nothing can be said") && !answer.contains("kept one of dom0's waiting"), "{answer}");
}

#[test]
fn a_host_of_ones_own_is_as_fast_as_it_was_and_a_shipped_one_as_hardware() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/data/xen-sas-nic");
    let from = recorded.to_str().unwrap();
    let time = |args: &[&str]| {
        let runs = json(&[&["simulate", "--policy", "recorded", "--json"], args].concat(), 0);
        runs[0]["runs"][0]["duration_ns"].as_u64().unwrap()
    };
    let (own, shipped) = (time(&["--from", from]), time(&["--recorded", "xen-sas-nic"]));
    assert!(own.abs_diff(50 * shipped) < own / 1000, "{own} ns, {shipped} ns");
    assert_eq!(time(&["--from", from, "--speed", "50"]), shipped);
}

#[test]
fn capacity_counts_what_a_guest_binds_for_itself() {
    let events = |args: &[&str]| {
        let answer = json(&[&["capacity", "--json"], args].concat(), 0);
        let limits = answer["limits"].as_array().unwrap().clone();
        let ports = limits.iter().find(|limit| limit["limit"] == "event channels granted to a domain").unwrap();
        assert!(ports["remedy"].is_null(), "what is met needs no remedy");
        ports["needed"].as_u64().unwrap()
    };
    assert_eq!(events(&["--vcpus", "8"]) - events(&["--vcpus", "1"]), 7 * 6);
    let two_level = |vcpus| events(&["--arrival", "two-level", "--vcpus", vcpus]);
    assert_eq!(two_level("8") - two_level("1"), 7 * 7);
    assert_eq!(events(&["--events-taken", "0", "--vcpus", "8"]), events(&["--events-taken", "0"]));
}

#[test]
fn every_word_of_an_inversion_can_be_explained() {
    for word in
        ["rank inversion", "possible inversion", "lottery", "retention", "below-dom0", "xen-cursor", "event-channel"]
    {
        assert!(says(&["explain", word], 0).len() > 60, "{word}");
    }
}

#[test]
fn help_documents_the_exit_codes() {
    assert!(says(&["--help"], 0).contains("Exit codes:"));
    for command in ["inspect", "plan", "capacity"] {
        assert!(says(&[command, "--help"], 0).contains("Exit codes:"), "{command}");
    }
}

/// Whether the machine that runs the tests is itself below Xen.
fn is_below_xen() -> bool {
    fs::read_to_string("/sys/hypervisor/type").is_ok_and(|kind| kind.trim() == "xen")
}

#[test]
fn where_there_is_no_xen_a_live_host_is_refused_with_what_to_do() {
    if is_below_xen() {
        println!("SKIP live: this machine runs on Xen; tests/xen tries it there");
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let empty = path(&directory, "host");
    for args in [&["inspect", "--live"][..], &["plan", "--live"], &["top", "--once"], &["record", &empty]] {
        let said = complains(args, 1);
        assert!(said.contains("does not run on Xen") && said.contains("run it in dom0"), "{args:?}: {said}");
    }
    assert_eq!(fs::read_dir(&empty).expect("the directory").count(), 0);
}

#[test]
fn a_recording_is_never_mixed_with_what_is_there_already() {
    let directory = host(&[]);
    let said = complains(&["record", directory.path().to_str().expect("UTF-8")], 1);
    assert!(said.contains("is not empty"), "{said}");
}

#[test]
fn the_rates_of_a_recording_are_by_vector_by_domain_and_by_cpu() {
    let rates = json(&["top", "--recorded", "xen-sas-nic", "--json"], 0);
    let count = |rows: &Value| {
        rows.as_array().expect("rows").iter().map(|row| row["count"].as_u64().expect("a count")).sum::<u64>()
    };
    assert!(count(&rates["vectors"]) > 0);
    for by in ["domains", "cpus"] {
        assert_eq!(count(&rates[by]), count(&rates["vectors"]), "{by}");
    }
    let nic =
        rates["vectors"].as_array().expect("rows").iter().find(|row| row["vector"] == "D8").expect("the guest's card");
    assert_eq!(nic["owner"], "d1");
    assert_eq!(count(&nic["cpus"]), nic["count"].as_u64().expect("a count"));
    let page = says(&["top", "--recorded", "xen-sas-nic"], 0);
    assert!(page.contains("By pCPU: pCPU 0 ") && page.contains("timer0"), "{page}");
}

#[test]
fn a_recording_without_a_trace_has_no_rates_and_says_so() {
    let directory = host(&[]);
    let page = says(&["top", "--from", directory.path().to_str().expect("UTF-8")], 0);
    assert!(page.contains("xentrace.bin is not there"), "{page}");
}
