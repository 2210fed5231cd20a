//! Sweeps: one scenario under many policies, paths, loads and seeds, on as many threads or machines as there are.
//!
//! A sweep writes one line of JSON per point, in the order of the points whatever the number of threads, so that equal
//! sweeps give equal files. A sweep that was interrupted goes on where it stopped; the files of its shards, one after
//! the other, are the file of the whole.

mod csv;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;
use std::thread;

use crossbeam::channel;
use serde::Deserialize;
use serde::Serialize;

use crate::DevicePath;
use crate::Run;
use crate::RunResult;
use crate::Scenario;
use crate::VectorPolicy;

pub use csv::HEADER;
pub use csv::rows;
use store::Store;
pub use store::StoreError;

/// What is to be compared: every combination is a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// What is the same at every point.
    pub scenario: Scenario,
    /// Where the vectors come from.
    pub policies: Vec<VectorPolicy>,
    /// The paths of guests' devices.
    pub paths: Vec<DevicePath>,
    /// The factors on every workload's rate.
    pub loads: Vec<f64>,
    /// The seeds.
    pub seeds: Vec<u64>,
}

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The scenario's fingerprint: points of another scenario, or of another version of the program, are other points. In
    /// JSON 16 hexadecimal digits.
    #[serde(with = "crate::hex")]
    pub scenario: u64,
    /// Where the vectors come from.
    pub policy: VectorPolicy,
    /// The path of guests' devices.
    pub path: DevicePath,
    /// The factor on every workload's rate.
    pub load: f64,
    /// The seed.
    pub seed: u64,
}

/// A point and what came of it: one line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which point.
    pub point: Point,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran.
    Result(Box<RunResult>),
    /// It cannot be: a policy finds no vector, a path cannot carry a source.
    Fault(String),
}

/// A part of a sweep: every `of`-th point from the `number`-th on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

/// A text is no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no shard: expected i/n with i from 1 to n, such as 2/8")]
pub struct IllegalShard(String);

impl Shard {
    /// All of a sweep.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// Whether it is the first part, whose table begins with a header.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.number == 1
    }

    const fn contains(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

impl FromStr for Shard {
    type Err = IllegalShard;

    fn from_str(text: &str) -> Result<Self, IllegalShard> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let shard = parts.map(|(number, of)| Self { number, of });
        shard.filter(|shard| (1..=shard.of).contains(&shard.number)).ok_or_else(|| IllegalShard(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// How far a sweep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepProgress {
    /// Points finished, those found finished among them.
    pub done: usize,
    /// Points in all.
    pub total: usize,
}

impl Sweep {
    /// Every point once, in the order of the file.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let scenario = store::fingerprint(&self.scenario);
        let (loads, seeds) = (each_once(&self.loads), each_once(&self.seeds));
        let mut points = Vec::new();
        for policy in each_once(&self.policies) {
            for path in each_once(&self.paths) {
                for &load in &loads {
                    points.extend(seeds.iter().map(|&seed| Point { scenario, policy, path, load, seed }));
                }
            }
        }
        points
    }

    /// Runs the points of `shard` that `file` does not have yet on `workers` threads, and appends them to it. Gives back
    /// all of the shard's records, in the order of the points.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or written, or holds something else than records.
    pub fn run(
        &self,
        shard: Shard,
        workers: NonZeroUsize,
        file: &Path,
        mut progress: impl FnMut(SweepProgress),
    ) -> Result<Vec<Record>, StoreError> {
        let mut store = Store::open(file)?;
        let points: Vec<Point> = self
            .points()
            .into_iter()
            .enumerate()
            .filter_map(|(index, point)| shard.contains(index).then_some(point))
            .collect();
        let missing: Vec<Point> = points.iter().copied().filter(|point| !store.has(point)).collect();
        let total = points.len();
        let mut done = total - missing.len();
        progress(SweepProgress { done, total });
        self.compute(&missing, workers, |record| {
            done += 1;
            progress(SweepProgress { done, total });
            store.append(record)
        })?;
        Ok(points.iter().filter_map(|point| store.find(point).cloned()).collect())
    }

    /// Runs points on several threads and hands their records over in order.
    fn compute(
        &self,
        points: &[Point],
        workers: NonZeroUsize,
        mut finished: impl FnMut(Record) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (queue, tasks) = channel::unbounded();
        for task in points.iter().enumerate() {
            queue.send(task).expect("the receiver is still in this function");
        }
        drop(queue);
        let (outbox, inbox) = channel::unbounded();
        thread::scope(|scope| {
            for _ in 0..workers.get().min(points.len()) {
                let (tasks, outbox) = (tasks.clone(), outbox.clone());
                // A closed inbox means that the file could not be written: there is nobody left to work for.
                scope.spawn(move || {
                    tasks.iter().try_for_each(|(index, point)| outbox.send((index, self.record(point))))
                });
            }
            drop((outbox, tasks));
            let mut early = BTreeMap::new();
            let mut next = 0;
            for (index, record) in inbox {
                early.insert(index, record);
                while let Some(record) = early.remove(&next) {
                    finished(record)?;
                    next += 1;
                }
            }
            Ok(())
        })
    }

    /// Runs one point.
    fn record(&self, point: &Point) -> Record {
        let mut scenario = self.scenario.clone();
        (scenario.policy, scenario.path) = (point.policy, point.path);
        (scenario.load, scenario.seed) = (point.load, point.seed);
        let outcome = match Run::new(&scenario) {
            Ok(run) => Outcome::Result(Box::new(run.to_end(|_| {}))),
            Err(fault) => Outcome::Fault(fault.to_string()),
        };
        Record { point: *point, outcome }
    }
}

/// The values without those that were there before.
fn each_once<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut once = Vec::new();
    for value in values {
        if !once.contains(value) {
            once.push(*value);
        }
    }
    once
}
