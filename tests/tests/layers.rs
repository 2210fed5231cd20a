//! The house rules that a compiler does not check: arrows point down, cores are cores, files stay readable.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use toml::Table;
use toml::Value;

/// What a crate may be, from the ground up. A crate depends only on crates of a lower number or listed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// ABI, no policy.
    Layout,
    /// Pure state machine.
    Core,
    /// Devices and the only unsafe code beside the border to C; no policy.
    Edge,
    /// Command line, simulator, tests.
    Tool,
}

/// The house, bottom up: directory, layer.
const HOUSE: [(&str, Layer); 14] = [
    ("hypervisor-lib/abi", Layer::Layout),
    ("tests/conformance", Layer::Core),
    ("vector-allocator", Layer::Core),
    ("guest-shim", Layer::Core),
    ("hypervisor-lib", Layer::Core),
    ("tools/machine", Layer::Core),
    ("hypervisor-lib/xen-host", Layer::Edge),
    ("tools/sim", Layer::Tool),
    ("tools/capi", Layer::Tool),
    ("tools/carillon", Layer::Tool),
    ("tests/delivery", Layer::Tool),
    ("tests/event", Layer::Tool),
    ("tests/xen", Layer::Tool),
    ("tests", Layer::Tool),
];

/// A source file longer than this, tests included, holds more than one concept.
const LONGEST_FILE: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_path_buf()
}

fn manifest(directory: &str) -> Table {
    let path = root().join(directory).join("Cargo.toml");
    fs::read_to_string(&path).expect("a readable manifest").parse().expect("a valid manifest")
}

fn package_name(manifest: &Table) -> String {
    manifest["package"]["name"].as_str().expect("a package name").to_owned()
}

fn dependencies(manifest: &Table) -> Vec<String> {
    let of = |section: &str| manifest.get(section).and_then(Value::as_table).into_iter().flat_map(Table::keys).cloned();
    of("dependencies").chain(of("build-dependencies")).collect()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_member_of_the_workspace_has_its_place_in_the_house() {
    let workspace = manifest(".");
    let members = workspace["workspace"]["members"].as_array().expect("a list of members");
    let mut members: Vec<&str> = members.iter().map(|member| member.as_str().expect("a path")).collect();
    let mut house: Vec<&str> = HOUSE.iter().map(|(directory, _)| *directory).collect();
    members.sort_unstable();
    house.sort_unstable();
    assert_eq!(members, house, "add the crate to HOUSE in this test, in the right place");
}

#[test]
fn arrows_point_down() {
    let position: BTreeMap<String, usize> =
        HOUSE.iter().enumerate().map(|(i, (directory, _))| (package_name(&manifest(directory)), i)).collect();
    for (i, (directory, layer)) in HOUSE.iter().enumerate() {
        for dependency in dependencies(&manifest(directory)) {
            let Some(&below) = position.get(&dependency) else { continue };
            assert!(below < i, "{directory} depends on {dependency}, which stands above it");
            assert!(HOUSE[below].1 <= *layer, "{directory} ({layer:?}) depends on {dependency} ({:?})", HOUSE[below].1);
        }
    }
}

#[test]
fn layouts_and_cores_are_no_std_and_forbid_unsafe_code() {
    for (directory, layer) in HOUSE {
        let source = fs::read_to_string(root().join(directory).join("src/lib.rs"));
        if layer >= Layer::Edge {
            continue;
        }
        let source = source.expect("a core has a lib.rs");
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            assert!(source.lines().any(|line| line == attribute), "{directory}/src/lib.rs lacks {attribute}");
        }
    }
}

#[test]
fn cores_depend_on_nothing_that_needs_an_operating_system() {
    let workspace = manifest(".");
    for (directory, layer) in HOUSE {
        if layer >= Layer::Edge {
            continue;
        }
        for dependency in dependencies(&manifest(directory)) {
            let declared = &workspace["workspace"]["dependencies"][&dependency];
            let std_off = declared.get("default-features").and_then(Value::as_bool) == Some(false);
            let ours = declared.get("path").is_some();
            // bitfield-struct is a macro without a run-time part.
            assert!(std_off || ours || dependency == "bitfield-struct", "{directory}: {dependency} comes with std");
        }
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for (directory, _) in HOUSE {
        let manifest = manifest(directory);
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{directory}/Cargo.toml");
    }
}

#[test]
fn no_source_file_outgrows_its_concept() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 20, "found only {} source files", files.len());
    let too_long: Vec<String> = files
        .iter()
        .map(|file| (file, fs::read_to_string(file).expect("a readable file").lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(file, lines)| format!("{} has {lines} lines", file.display()))
        .collect();
    assert!(too_long.is_empty(), "longer than {LONGEST_FILE} lines: {too_long:#?}");
}
