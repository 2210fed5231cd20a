//! When interrupts come during a move.

use std::fmt;

use vector_allocator::CpuId;

use super::Sender;
use crate::RandomStream;

/// A moment of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// The vCPU still runs on the CPU it leaves.
    RunsThere(CpuId),
    /// It has exited, and the step of this number is next.
    Before(usize),
    /// All steps are done, and it is not entered yet.
    BeforeEntry,
    /// It runs where the move has brought it.
    RunsHere(CpuId),
}

/// At which moments interrupts come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moments {
    /// At these of the plan, counted from 0: 0 while the vCPU still runs on its old CPU, 1 before step 1 and so on; after the
    /// last step's comes the moment before the entry, and then the one while it runs on the new CPU.
    At(Vec<usize>),
    /// At every moment, on the way back too.
    Every,
    /// Of each sender at half of them, on the way back too; which ones, this seed decides.
    Drawn(u64),
}

/// Which interrupts come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// When.
    pub moments: Moments,
    /// From whom.
    pub senders: Vec<Sender>,
}

/// Arrivals as they are drawn.
#[derive(Debug)]
pub(super) struct Schedule<'a> {
    arrivals: &'a Arrivals,
    random: RandomStream,
    passed: usize,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(arrivals: &'a Arrivals) -> Self {
        let seed = if let Moments::Drawn(seed) = arrivals.moments { seed } else { 0 };
        Self { arrivals, random: RandomStream::new(seed, 0), passed: 0 }
    }

    /// Who sends at the next moment of the plan.
    pub(super) fn next(&mut self) -> Vec<Sender> {
        let now = self.passed;
        self.passed += 1;
        match &self.arrivals.moments {
            Moments::At(moments) if moments.contains(&now) => self.arrivals.senders.clone(),
            _ => self.next_on_the_way_back(),
        }
    }

    /// Who sends at the next moment of the way back.
    pub(super) fn next_on_the_way_back(&mut self) -> Vec<Sender> {
        let Self { arrivals, random, .. } = self;
        match arrivals.moments {
            Moments::At(_) => Vec::new(),
            Moments::Every => arrivals.senders.clone(),
            Moments::Drawn(_) => arrivals.senders.iter().copied().filter(|_| random.unit() < 0.5).collect(),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunsThere(cpu) | Self::RunsHere(cpu) => write!(f, "while vCPU 0 runs on CPU {cpu}"),
            Self::Before(step) => write!(f, "before step {step}"),
            Self::BeforeEntry => f.write_str("before vCPU 0 is entered"),
        }
    }
}
