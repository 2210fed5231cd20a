//! Sweeps: the same on any number of threads, resumable, and made of shards.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use carillon_sim::DevicePath;
use carillon_sim::Scenario;
use carillon_sim::Shipped;
use carillon_sim::VectorPolicy;
use carillon_sim::sweep::Outcome;
use carillon_sim::sweep::Record;
use carillon_sim::sweep::Shard;
use carillon_sim::sweep::StoreError;
use carillon_sim::sweep::Sweep;

const ONE: NonZeroUsize = NonZeroUsize::MIN;
const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

fn sweep() -> Sweep {
    let scenario = Shipped::named("question-2013").unwrap().scenario().unwrap();
    Sweep {
        scenario: Scenario { duration_ms: 2.0, ..scenario },
        policies: vec![VectorPolicy::Recorded, VectorPolicy::BelowDom0],
        paths: vec![DevicePath::Event, DevicePath::Posted],
        loads: vec![0.5, 1.0],
        seeds: vec![1, 2],
    }
}

fn run(sweep: &Sweep, shard: &str, workers: NonZeroUsize, file: &Path) -> Vec<Record> {
    sweep.run(shard.parse().unwrap(), workers, file, |_| {}).unwrap()
}

#[test]
fn one_thread_and_two_write_the_same_file_with_the_same_trace_hashes() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let records = run(&sweep(), "1/1", ONE, &one);
    assert_eq!(records.len(), 16);
    assert!(run(&sweep(), "1/1", TWO, &two) == records, "two threads find something else");
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "two threads write something else");
    let mut hashes: Vec<u64> = records
        .iter()
        .map(|record| match &record.outcome {
            Outcome::Result(result) => result.trace_hash,
            Outcome::Fault(fault) => panic!("{fault}"),
        })
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 16, "every point is another run");
}

#[test]
fn an_interrupted_sweep_goes_on_where_it_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, torn) = (directory.path().join("whole"), directory.path().join("torn"));
    let records = run(&sweep(), "1/1", TWO, &whole);
    let bytes = fs::read(&whole).unwrap();
    let half = bytes.len() / 2;
    assert_ne!(bytes[half - 1], b'\n', "the cut tears a line");
    fs::write(&torn, &bytes[..half]).unwrap();
    let kept = bytes[..half].iter().filter(|byte| **byte == b'\n').count();
    let mut first = None;
    let again = sweep().run(Shard::WHOLE, TWO, &torn, |progress| {
        first.get_or_insert(progress);
    });
    assert!(again.unwrap() == records, "the torn sweep finds something else");
    assert_eq!(
        first.map(|progress| (progress.done, progress.total)),
        Some((kept, 16)),
        "what is there is not run again"
    );
    assert!(fs::read(torn).unwrap() == bytes, "the torn sweep writes something else");
}

#[test]
fn the_files_of_the_shards_hold_the_points_of_the_whole() {
    let directory = tempfile::tempdir().unwrap();
    let whole = run(&sweep(), "1/1", ONE, &directory.path().join("whole"));
    let mut merged = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let file = directory.path().join(shard.replace('/', "-"));
        run(&sweep(), shard, ONE, &file);
        merged.extend(fs::read(file).unwrap());
    }
    let file = directory.path().join("merged");
    fs::write(&file, &merged).unwrap();
    let mut runs = 0;
    let found = sweep().run(Shard::WHOLE, ONE, &file, |_| runs += 1).unwrap();
    assert!(found == whole, "the shards found something else");
    assert_eq!(runs, 1, "nothing was left to run");
    assert!(fs::read(file).unwrap() == merged, "nothing was written");
}

#[test]
fn a_sweep_of_another_scenario_finds_none_of_its_points() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("points");
    let small = Sweep { seeds: vec![1], loads: vec![1.0], paths: vec![DevicePath::AsIs], ..sweep() };
    run(&small, "1/1", ONE, &file);
    let other = Sweep { scenario: Scenario { duration_ms: 3.0, ..small.scenario.clone() }, ..small };
    let mut begun = None;
    let progress = |progress: carillon_sim::sweep::SweepProgress| {
        begun.get_or_insert(progress.done);
    };
    other.run(Shard::WHOLE, ONE, &file, progress).unwrap();
    assert_eq!(begun, Some(0));
}

#[test]
fn a_point_that_cannot_be_is_recorded_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let sweep = Sweep { loads: vec![-1.0], ..sweep() };
    let records = run(&sweep, "1/1", TWO, &directory.path().join("faults"));
    for record in records {
        let Outcome::Fault(reason) = record.outcome else { panic!("a negative load cannot be run") };
        assert_eq!(reason, "load is -1: expected 0.001 to 1000");
    }
}

#[test]
fn a_file_that_holds_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (file, points) = (directory.path().join("notes"), directory.path().join("points"));
    let small = Sweep { seeds: vec![1], loads: vec![1.0], paths: vec![DevicePath::AsIs], ..sweep() };
    run(&small, "1/1", ONE, &points);
    let record = fs::read(&points).unwrap();
    let noise: Vec<u8> = (0..1000u32).map(|step| (step.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
    let after = |tail: &[u8]| [&record[..], tail].concat();
    let torn_then_more = [&record[..record.len() / 3], b"\n", &record[..]].concat();
    for (bytes, line) in [
        (b"dear diary\n".to_vec(), 1),
        (b"dear diary".to_vec(), 1),
        (b"{\"point".iter().chain(b" of view").copied().collect(), 1),
        (b"[1, 2".to_vec(), 1),
        (noise, 1),
        (after(b"dear diary"), 3),
        (after(b"\n"), 3),
        (torn_then_more, 1),
    ] {
        fs::write(&file, &bytes).unwrap();
        let error = small.run(Shard::WHOLE, ONE, &file, |_| {}).unwrap_err();
        let StoreError::NotARecord { line: at, error: reason, .. } = &error else { panic!("{error}") };
        assert_eq!(*at, line, "{error}: {reason}");
        assert!(
            !error.to_string().contains(&reason.to_string()),
            "{error} says its cause, and so does who prints both"
        );
        assert!(fs::read(&file).unwrap() == bytes, "the file was changed");
    }
}

#[test]
fn a_last_record_without_the_end_of_its_line_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("points");
    let small = Sweep { seeds: vec![1], loads: vec![1.0], paths: vec![DevicePath::AsIs], ..sweep() };
    run(&small, "1/1", ONE, &file);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let mut begun = None;
    let records = small.run(Shard::WHOLE, ONE, &file, |progress| {
        begun.get_or_insert(progress.done);
    });
    assert_eq!((records.unwrap().len(), begun), (2, Some(2)));
    assert!(fs::read(&file).unwrap() == whole, "only the end of the line was missing");
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    for path in ["/dev/full", "/dev/null", "/"] {
        let error = sweep().run(Shard::WHOLE, ONE, Path::new(path), |_| {}).unwrap_err();
        let StoreError::Io { action: "opened", error, .. } = error else { panic!("{path}: {error}") };
        assert!(error.to_string().starts_with("expected a regular file, found "), "{path}: {error}");
    }
}

#[test]
fn equal_loads_seeds_policies_and_paths_give_each_point_once() {
    let plain = sweep();
    let doubled = Sweep {
        policies: plain.policies.repeat(2),
        paths: plain.paths.repeat(2),
        loads: plain.loads.repeat(2),
        seeds: plain.seeds.repeat(3),
        ..plain.clone()
    };
    assert_eq!(doubled.points(), plain.points());
    assert_eq!(plain.points().len(), 16);
}

#[test]
fn shards_are_written_as_i_of_n_from_1() {
    for text in ["1/1", "3/8", "8/8"] {
        assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
    }
    for text in ["0/1", "2/1", "1/0", "1", "a/b", ""] {
        assert!(text.parse::<Shard>().is_err(), "{text:?}");
    }
}
