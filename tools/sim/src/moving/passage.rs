//! What happens during a move, and what it comes to.

use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Planned;
use hypervisor_lib::migration::Stopped;
use vector_allocator::CpuId;

use super::Effect;
use super::Moment;
use super::Sender;

/// Which way things go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// By the plan.
    There,
    /// By the plan that brings the vCPU back.
    Back,
}

/// An interrupt that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    /// By whom.
    pub sender: Sender,
    /// When.
    pub moment: Moment,
    /// On which way.
    pub way: Way,
}

/// An interrupt that the vCPU has taken. One of a sender stands for all that it sent since the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivered {
    /// Whose.
    pub sender: Sender,
    /// On which CPU.
    pub cpu: CpuId,
}

/// A piece of a move, in the order in which they happen, each with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Somebody interrupts the vCPU.
    Sent(Sent, Vec<Effect>),
    /// A step is carried out; or it was left out, and only counts as done.
    Step {
        /// On which way.
        way: Way,
        /// Its number, from 1.
        number: usize,
        /// The step.
        planned: Planned,
        /// What it came to; none if it was left out.
        outcome: Option<Outcome>,
        /// What came of it.
        effects: Vec<Effect>,
    },
    /// A step fails.
    Stopped(Way, Box<Stopped>),
    /// A CPU that does not run the vCPU takes what waits in its local APIC.
    Host(CpuId, Vec<Effect>),
    /// The vCPU is entered, and runs.
    Entered(CpuId, Vec<Effect>),
}

/// A move that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveRun {
    /// The steps of its plan.
    pub plan: Vec<Planned>,
    /// What happened.
    pub passages: Vec<Passage>,
    /// How many interrupts were sent.
    pub sent: usize,
    /// What the vCPU has taken.
    pub delivered: Vec<Delivered>,
    /// What it was not made to take.
    pub lost: Vec<Sent>,
    /// Where it runs in the end.
    pub cpu: CpuId,
}
