//! What a report shows, as plain data: it can be stored as JSON and shown again.

use serde::Deserialize;
use serde::Serialize;

use crate::RunResult;

/// Everything one report shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The headline: the scenario or the host.
    pub title: String,
    /// What is to be known before the figures: what the scenario is about, and what to see in it.
    #[serde(default)]
    pub about: Vec<String>,
    /// The version of the program that made it.
    pub version: String,
    /// The seed of every random choice.
    pub seed: u64,
    /// The runs, the first of them the host as it is.
    pub results: Vec<RunResult>,
    /// The moves that were planned, and what they leave.
    pub plan: PlanRows,
    /// Where a guest outranked or could hold back dom0 before the plan.
    pub before: Vec<Finding>,
    /// The same after it.
    pub after: Vec<Finding>,
    /// What each step was taken to cost.
    pub parameters: Vec<Parameter>,
}

/// A plan, ready to be shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanRows {
    /// The moves, in order.
    pub moves: Vec<MoveRow>,
    /// What no move can mend.
    pub remaining: Vec<Remaining>,
}

/// One move of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveRow {
    /// What a person calls the source.
    pub source: String,
    /// The host vector it leaves.
    pub from_vector: u8,
    /// The CPU it leaves.
    pub from_cpu: u32,
    /// The host vector it gets.
    pub to_vector: u8,
    /// The CPU it goes to.
    pub to_cpu: u32,
    /// Why.
    pub reason: String,
}

/// An inversion no move can mend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remaining {
    /// Which.
    pub what: String,
    /// The constraint that stops the plan.
    pub constraint: String,
}

/// One place where a guest outranks, could outrank, or can hold back dom0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// `rank`, `possible` or `retention`.
    pub kind: String,
    /// The guest's source.
    pub guest: String,
    /// Dom0's source.
    pub dom0: String,
    /// The CPUs, as a person writes them: `0`, `0-3`.
    pub cpus: String,
}

/// One named cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// What it is the cost of.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// Where the figure comes from.
    pub source: String,
}
