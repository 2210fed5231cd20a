//! How bars are measured: contenders take turns in slices of a millisecond in one process, on the clock of their
//! thread's CPU time, and a bar is the median over rounds of the ratio within a round. What the machine does to one
//! contender it then does to the other as well: clocks wander and neighbours come and go by a factor of two, ratios stay.

use std::fmt;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// How long a slice lasts, ns.
const SLICE_NS: f64 = 1_000_000.0;
/// Rounds of a full measurement.
const ROUNDS: usize = 41;
/// What asks for a short measurement.
pub(crate) const QUICK: &str = "--quick";
/// Rounds of a short one: enough to see a bar missed by far.
const QUICK_ROUNDS: usize = 7;

/// A promise about speed or size with what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// What is promised: `S1-heap-256`.
    pub(crate) id: String,
    /// What was measured, in the unit of the limit.
    pub(crate) measured: f64,
    /// What is allowed.
    pub(crate) limit: Limit,
}

/// What a bar allows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The measured value must reach this.
    AtLeast(f64),
    /// The measured value must not exceed this.
    AtMost(f64),
    /// No promise: a figure to know.
    Report,
}

impl Bar {
    /// A bar with its measurement.
    pub(crate) fn new(id: impl Into<String>, measured: f64, limit: Limit) -> Self {
        Self { id: id.into(), measured, limit }
    }

    /// The bar as one measuring process hands it to the one that judges.
    pub(crate) fn record(&self) -> String {
        let (sense, bound) = match self.limit {
            Limit::AtLeast(bound) => ("at-least", bound),
            Limit::AtMost(bound) => ("at-most", bound),
            Limit::Report => ("report", 0.0),
        };
        format!("{} {} {sense} {bound}", self.id, self.measured)
    }

    /// Reads a [`record`](Self::record).
    fn parse(record: &str) -> Option<Self> {
        let mut words = record.split(' ');
        let (id, measured) = (words.next()?, words.next()?.parse().ok()?);
        let (sense, bound) = (words.next()?, words.next()?.parse().ok()?);
        let limit = match sense {
            "at-least" => Limit::AtLeast(bound),
            "at-most" => Limit::AtMost(bound),
            "report" => Limit::Report,
            _ => return None,
        };
        Some(Self::new(id, measured, limit))
    }

    /// Whether the measurement keeps the promise; one that is no number does not.
    pub(crate) fn passes(&self) -> bool {
        match self.limit {
            Limit::AtLeast(bound) => self.measured >= bound,
            Limit::AtMost(bound) => self.measured <= bound,
            Limit::Report => true,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passes() { "pass" } else { "fail" };
        let short = |bound: f64| (bound * 1000.0).round() / 1000.0;
        match self.limit {
            Limit::AtLeast(bound) => write!(f, "BAR {} {:.3} >={} {verdict}", self.id, self.measured, short(bound)),
            Limit::AtMost(bound) => write!(f, "BAR {} {:.3} <={} {verdict}", self.id, self.measured, short(bound)),
            Limit::Report => write!(f, "REPORT {} {:.3}", self.id, self.measured),
        }
    }
}

/// Reads the bars of a measuring process.
///
/// # Errors
/// The line that is no record.
pub(crate) fn parse(records: &str) -> Result<Vec<Bar>, String> {
    records.lines().map(|line| Bar::parse(line).ok_or_else(|| format!("not a record of a bar: {line:?}"))).collect()
}

/// Contenders that take turns.
#[derive(Default)]
pub(crate) struct Race<'a> {
    contenders: Vec<Box<dyn FnMut(u64) + 'a>>,
}

/// A contender's place in its race.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane(usize);

/// What a race took.
pub(crate) struct Times {
    /// ns per operation: one row a round, one column a contender.
    rounds: Vec<Vec<f64>>,
}

impl<'a> Race<'a> {
    /// A race without contenders.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Enters a contender: a function that carries out so many operations.
    pub(crate) fn enter(&mut self, contender: impl FnMut(u64) + 'a) -> Lane {
        self.contenders.push(Box::new(contender));
        Lane(self.contenders.len() - 1)
    }

    /// Runs all rounds. Each contender is first run until its slice is long enough to be timed, which also warms it.
    pub(crate) fn run(mut self) -> Times {
        let slices: Vec<u64> = self.contenders.iter_mut().map(|contender| operations_in_a_slice(contender)).collect();
        let rounds = (0..rounds()).map(|round| {
            let mut row = vec![0.0; slices.len()];
            // Each round begins with another contender, so that nobody always runs on the other's warm or cold caches.
            for turn in 0..slices.len() {
                let lane = (round + turn) % slices.len();
                row[lane] = time(&mut self.contenders[lane], slices[lane]) / slices[lane] as f64;
            }
            row
        });
        Times { rounds: rounds.collect() }
    }
}

impl Times {
    /// How many times as long `slow` takes for an operation as `fast`.
    pub(crate) fn ratio(&self, slow: Lane, fast: Lane) -> f64 {
        median(self.rounds.iter().map(|row| row[slow.0] / row[fast.0]))
    }

    /// By how much longer `slow` takes for an operation than `fast`, ns.
    pub(crate) fn excess(&self, slow: Lane, fast: Lane) -> f64 {
        median(self.rounds.iter().map(|row| row[slow.0] - row[fast.0]))
    }
}

/// The middle value; not a number if there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Whether the command line asks for a short measurement.
pub(crate) fn is_quick() -> bool {
    std::env::args().any(|argument| argument == QUICK)
}

fn rounds() -> usize {
    if is_quick() { QUICK_ROUNDS } else { ROUNDS }
}

fn operations_in_a_slice(contender: &mut dyn FnMut(u64)) -> u64 {
    let mut operations = 16;
    loop {
        let taken = time(contender, operations);
        if taken >= SLICE_NS / 2.0 {
            #[expect(clippy::cast_possible_truncation, reason = "at most twice the operations just carried out")]
            return ((operations as f64 * SLICE_NS / taken) as u64).max(1);
        }
        operations *= 2;
    }
}

/// The thread's CPU time for so many operations, ns.
fn time(contender: &mut dyn FnMut(u64), operations: u64) -> f64 {
    let start = cpu_time();
    contender(operations);
    cpu_time() - start
}

fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
