use carillon_machine::DeferredWork;
use carillon_machine::EoiMode;
use carillon_machine::EventAbi;
use carillon_machine::Path;
use carillon_machine::Span;
use proptest::prelude::any;
use proptest::proptest;
use vector_allocator::CpuId;

use super::DevicePath;
use super::Scenario;
use super::ScenarioError;
use super::Shipped;

const SMALL: &str = r#"name = "small"
duration_ms = 1
[host]
cpus = 2
[[domain]]
id = 0
name = "dom0"
kind = "pv"
vcpu = [{ copies = 2 }]
[[domain]]
id = 1
name = "guest"
kind = "hvm"
vcpu = [{ affinity = "1" }]
[[source]]
id = 7
label = "nic"
domain = 1
vector = 0x48
path = "remapped"
handler_us = 1
"#;

/// What is wrong with the small scenario when one of its lines is another, or one is added.
fn complaint(line: &str, other: &str) -> String {
    assert!(SMALL.contains(line), "{line:?} is in the small scenario");
    let text = SMALL.replacen(line, other, 1);
    Scenario::parse("small.toml", &text).expect_err("it is wrong").to_string()
}

#[test]
fn every_scenario_shipped_is_one_and_reads_back_as_written() {
    for shipped in Shipped::ALL {
        let scenario = shipped.scenario().unwrap();
        assert_eq!(scenario.name, shipped.name());
        assert!(!scenario.expect.is_empty(), "{} says what is to be seen", shipped.name());
        let again = Scenario::parse(shipped.name(), &scenario.to_toml().unwrap()).unwrap();
        assert_eq!(again, scenario);
    }
    assert_eq!(Shipped::named("no such thing"), None);
}

#[test]
fn errors_name_file_line_and_what_was_expected() {
    let said = complaint("kind = \"hvm\"", "kind = \"vmm\"");
    assert!(said.starts_with("small.toml:13: ") && said.contains("`pv` or `hvm`"), "{said}");
    let said = complaint("cpus = 2", "cpus = 2\nspeed = 3");
    assert!(said.starts_with("small.toml:5: ") && said.contains("unknown field `speed`"), "{said}");
    let said = complaint("duration_ms = 1", "duration_ms = 1 1");
    assert!(said.starts_with("small.toml:2: "), "{said}");
    let said = complaint("affinity = \"1\"", "affinity = \"1-\"");
    assert!(said.starts_with("small.toml:14: ") && said.contains("`0-3,6`"), "{said}");
}

#[test]
fn faults_are_found_on_the_line_that_is_to_blame() {
    let said = complaint("vector = 0x48", "vector = 0x0f");
    assert_eq!(said, "small.toml:19: vector 0x0f is illegal: a local APIC accepts 0x10 to 0xff");
    let said = complaint("domain = 1", "domain = 9");
    assert_eq!(
        said,
        "small.toml:18: source \"nic\" belongs to domain 9, which is not there: expected the id of a [[domain]]"
    );
    let said = complaint("duration_ms = 1", "duration_ms = nan");
    assert_eq!(said, "small.toml:2: duration_ms is NaN: expected 0.001 to 10000000");
    let said = complaint("path = \"remapped\"", "path = \"remapped\"\nworkload.poisson = { rate_per_s = -1 }");
    assert_eq!(said, "small.toml:21: workload parameter rate_per_s is -1: expected 0.001 to 100000000 per second");
    let said = complaint("[host]\n", "[costs_ns]\nvmexit = 5\n[host]\n");
    assert!(said.starts_with("small.toml:4: cost \"vmexit\": "), "{said}");
    let said = complaint("path = \"remapped\"", "path = \"posted\"\nkind = \"level\"");
    assert!(said.starts_with("small.toml:20: source \"nic\": a level-triggered pin cannot be posted"), "{said}");
    let said = complaint(
        "cpus = 2",
        "cpus = 2\nlayout.custom = { boot_cpu = \"30-ef\", other_cpus = \"20-ef\", notification = \"ef\", system = \"f0-ff\" }",
    );
    assert!(said.starts_with("small.toml:5: vector EF is in two bands"), "{said}");
    let said = complaint("label = \"nic\"", "label = \"nic\"\ncpu = 5");
    assert!(said.starts_with("small.toml:16: source 7 targets CPU 5"), "{said}");
    let said = complaint("affinity = \"1\"", "affinity = \"1\", copies = 4000000000");
    assert_eq!(said, "small.toml:14: vCPUs is 4000000000: expected 1 to 8192 of a domain");
}

#[test]
fn event_abis_and_priorities_reach_the_machine_and_wrong_ones_are_refused() {
    let text = SMALL.replacen("path = \"remapped\"", "priority = 3", 1);
    let setup = Scenario::parse("small.toml", &text).unwrap().setup().unwrap();
    assert!(setup.machine.domains.iter().all(|domain| domain.event_abi == EventAbi::Fifo));
    assert!(matches!(setup.machine.sources[0].path, Path::EventChannel { priority, .. } if priority.number() == 3));
    let text = SMALL.replacen("kind = \"hvm\"", "kind = \"hvm\"\nevent_abi = \"2-level\"", 1);
    let text = text.replacen("path = \"remapped\"", "path = \"event\"", 1);
    let setup = Scenario::parse("small.toml", &text).unwrap().setup().unwrap();
    assert_eq!(setup.machine.domains[1].event_abi, EventAbi::TwoLevel);
    let said = complaint("path = \"remapped\"", "priority = 16");
    assert_eq!(said, "small.toml:20: priority is 16: expected 0 to 15");
    let said = complaint("kind = \"hvm\"", "kind = \"hvm\"\nevent_abi = \"3-level\"");
    assert!(said.starts_with("small.toml:14: ") && said.contains("`fifo` or `2-level`"), "{said}");
    let text = text.replacen("path = \"event\"", "priority = 7", 1);
    let said = Scenario::parse("small.toml", &text).unwrap_err().to_string();
    assert!(said.starts_with("small.toml:21: source \"nic\": 2-level event channels have no priorities"), "{said}");
    let text =
        text.replacen("priority = 7", "kind = \"software\"\ncopies = 4096", 1).replacen("vector = 0x48\n", "", 1);
    let said = Scenario::parse("small.toml", &text).unwrap_err().to_string();
    assert!(said.ends_with("d1 needs 4096 event ports, and its ABI has 4095"), "{said}");
}

#[test]
fn late_eois_reach_the_machine_and_are_refused_where_they_have_no_effect() {
    let late = SMALL.replacen("kind = \"hvm\"", "kind = \"hvm\"\nlate_eoi = true", 1);
    let text = late.replacen("path = \"remapped\"", "kind = \"software\"", 1).replacen("vector = 0x48\n", "", 1);
    let scenario = Scenario::parse("small.toml", &text).unwrap();
    let modes: Vec<EoiMode> = scenario.setup().unwrap().machine.domains.iter().map(|own| own.software_eoi).collect();
    assert_eq!(modes, [EoiMode::Early, EoiMode::Late]);
    let again = Scenario::parse("again.toml", &scenario.to_toml().unwrap()).unwrap();
    assert!(again.domains[1].late_eoi, "it is written down again");
    let said = Scenario::parse("small.toml", &late).unwrap_err().to_string();
    let expected = "small.toml:14: late_eoi has no effect: domain \"guest\" has no source of kind \"software\", and other \
                    events always end early";
    assert_eq!(said, expected);
    let said = complaint("kind = \"hvm\"", "kind = \"hvm\"\nlate_eoi = \"yes\"");
    assert_eq!(said, "small.toml:14: invalid type: string \"yes\", expected a boolean");
}

#[test]
fn deferred_work_reaches_the_machine_and_is_refused_where_nothing_is_held_back() {
    let with = |work: &str| SMALL.replacen("kind = \"hvm\"", &format!("kind = \"hvm\"\ndeferred = {work}"), 1);
    let scenario = Scenario::parse("small.toml", &with("{ class = 8, lasts_us = 0.5 }")).unwrap();
    let deferred: Vec<_> = scenario.setup().unwrap().machine.domains.iter().map(|own| own.deferred).collect();
    assert_eq!(deferred, [None, Some(DeferredWork { class: 8, lasts: Span(500) })]);
    let again = Scenario::parse("again.toml", &scenario.to_toml().unwrap()).unwrap();
    assert_eq!(again, scenario, "it is written down again");
    let complaint = |work: &str| Scenario::parse("small.toml", &with(work)).unwrap_err().to_string();
    let said = complaint("{ class = 16, lasts_us = 1 }");
    assert!(said.ends_with("class 16: the task priority is raised to 1 to 15"), "{said}");
    let said = complaint("{ class = 8, lasts_us = 0 }");
    assert!(said.starts_with("small.toml:14: ") && said.contains("lasts_us"), "{said}");
}

#[test]
fn copies_go_round_the_affinity_and_to_one_vcpu_each() {
    let text = SMALL.replacen("kind = \"hvm\"\n", "kind = \"hvm\"\ncopies = 3\n", 1).replacen(
        "affinity = \"1\"",
        "copies = 2",
        1,
    );
    let text =
        text.replacen("label = \"nic\"\n", "label = \"nic\"\ncopies = 3\n", 1).replacen("vector = 0x48\n", "", 1);
    let text = text.replacen("path = \"remapped\"", "kind = \"software\"", 1);
    let setup = Scenario::parse("copies.toml", &text).unwrap().setup().unwrap();
    let names: Vec<&str> = setup.machine.domains.iter().map(|domain| domain.name.as_str()).collect();
    assert_eq!(names, ["dom0", "guest 0", "guest 1", "guest 2"]);
    let starts: Vec<u32> =
        setup.machine.domains[1..].iter().flat_map(|domain| &domain.vcpus).map(|vcpu| vcpu.start.0).collect();
    assert_eq!(starts, [0, 1, 0, 1, 0, 1]);
    let handlers: Vec<u16> =
        setup.machine.sources.iter().filter_map(|source| source.path.handler()).map(|to| to.domain.0).collect();
    assert_eq!(handlers, [1, 2, 3]);
    assert_eq!(setup.workloads.len(), 3);
}

#[test]
fn an_engine_changes_the_path_of_guests_devices_and_of_nothing_else() {
    let question = Shipped::named("question-2013").unwrap().scenario().unwrap();
    for path in DevicePath::ALL {
        let setup = Scenario { path, ..question.clone() }.setup().unwrap();
        let (nic, sas) = setup.machine.sources.split_last().unwrap();
        assert!(sas.iter().all(|source| matches!(source.path, Path::EventChannel { .. })));
        match (path, nic.path) {
            (DevicePath::Event, Path::EventChannel { .. }) => assert_eq!(nic.vector.unwrap().number(), 0x48),
            (DevicePath::AsIs | DevicePath::Remapped, Path::Remapped { guest_vector, .. }) => {
                assert_eq!((nic.vector.unwrap().number(), guest_vector.number()), (0x48, 0x80));
            }
            (DevicePath::Posted, Path::Posted { guest_vector, .. }) => {
                assert_eq!((nic.vector, guest_vector.number()), (None, 0x80));
            }
            (path, other) => panic!("{path} gave {other:?}"),
        }
    }
}

#[test]
fn the_question_is_the_mails_word_for_word() {
    let setup = Shipped::named("question-2013").unwrap().scenario().unwrap().setup().unwrap();
    let mut sas: Vec<(u8, CpuId)> =
        setup.machine.sources[..4].iter().map(|source| (source.vector.unwrap().number(), source.target)).collect();
    assert_eq!(sas.iter().map(|(vector, _)| *vector).collect::<Vec<_>>(), [0x58, 0x68, 0x78, 0x88]);
    assert_eq!(sas[0].1, CpuId(1), "CPU 1 carries 0x58");
    sas.sort_by_key(|(_, cpu)| *cpu);
    assert_eq!(sas.iter().map(|(_, cpu)| cpu.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(setup.machine.domains[1].vcpus.len(), 1);
}

#[test]
fn a_scenario_that_is_not_there_is_an_error_that_names_it() {
    let error = Scenario::read(std::path::Path::new("no/such/scenario.toml")).unwrap_err();
    assert!(matches!(error, ScenarioError::Read { .. }));
    assert!(error.to_string().contains("no/such/scenario.toml"));
}

proptest! {
    /// A scenario is a file a user writes: whatever it holds, reading it ends, and with a line of the file.
    #[test]
    fn a_damaged_scenario_never_panics(place in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        for shipped in [Shipped::named("question-2013").unwrap(), Shipped::named("retention").unwrap()] {
            let mut bytes = shipped.text().as_bytes().to_vec();
            let index = place.index(bytes.len());
            bytes[index] = byte;
            if cut {
                bytes.truncate(index);
            }
            let text = String::from_utf8_lossy(&bytes);
            if let Err(ScenarioError::Fault { line, .. } | ScenarioError::Syntax { line, .. }) = Scenario::parse("damaged.toml", &text) {
                assert!((1..=text.lines().count() + 1).contains(&line), "line {line}");
            }
        }
    }
}

#[test]
fn a_domain_has_no_more_vcpus_than_xen_gives_one() {
    let with = |copies: &str| SMALL.replacen("affinity = \"1\"", &format!("affinity = \"1\", copies = {copies}"), 1);
    assert!(Scenario::parse("small.toml", &with("8192")).is_ok());
    let error = Scenario::parse("small.toml", &with("8193")).unwrap_err().to_string();
    assert_eq!(error, "small.toml:14: vCPUs is 8193: expected 1 to 8192 of a domain");
}

#[test]
fn what_is_written_down_is_there_at_least_once() {
    let said = complaint("label = \"nic\"", "label = \"nic\"\ncopies = 0");
    assert_eq!(said, "small.toml:18: copies is 0: expected 1 or more");
    let said = complaint("affinity = \"1\"", "affinity = \"1\", copies = 0");
    assert_eq!(said, "small.toml:14: copies is 0: expected 1 or more");
    let said = complaint("kind = \"hvm\"", "kind = \"hvm\"\ncopies = 0");
    assert!(said.ends_with(": copies is 0: expected 1 or more"), "{said}");
}

#[test]
fn flat_destinations_reach_eight_cpus() {
    let with = |cpus: u32| SMALL.replacen("cpus = 2", &format!("cpus = {cpus}\ndestinations = \"flat\""), 1);
    assert!(Scenario::parse("small.toml", &with(8)).is_ok());
    let error = Scenario::parse("small.toml", &with(9)).unwrap_err().to_string();
    assert_eq!(error, "small.toml:4: cpus is 9: expected 1 to 8 with flat destinations");
}

#[test]
fn faults_of_vectors_name_the_source_and_print_as_a_person_writes_them() {
    let said = complaint("vector = 0x48", "vector = 16");
    assert!(said.ends_with(": source \"nic\" holds vector 0x10, which the layout does not lease on CPU 1"), "{said}");
    let twin = "vector = 0x48\nhandler_us = 1\n[[source]]\nid = 8\nlabel = \"twin\"\ndomain = 1\nvector = 0x48";
    let said = complaint("vector = 0x48", twin);
    assert!(said.ends_with(": sources \"nic\" and \"twin\" both hold vector 0x48 on CPU 1"), "{said}");
    let said = complaint("duration_ms = 1", "duration_ms = 1e300");
    assert_eq!(said, "small.toml:2: duration_ms is 1e300: expected 0.001 to 10000000");
}

#[test]
fn a_file_without_end_and_one_that_is_too_large_are_refused() {
    let zero = Scenario::read(std::path::Path::new("/dev/zero")).unwrap_err();
    let ScenarioError::Read { error, .. } = zero else { panic!("{zero}") };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.toml");
    std::fs::File::create(&path).unwrap().set_len((16 << 20) + 1).unwrap();
    let ScenarioError::Read { error, .. } = Scenario::read(&path).unwrap_err() else { panic!("it was read") };
    assert_eq!(error.to_string(), "larger than 16777216 bytes");
}
