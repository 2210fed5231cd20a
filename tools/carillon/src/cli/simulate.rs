//! What is simulated, and under what: once, side by side, or over a sweep.

use std::path::PathBuf;

use carillon_sim::DevicePath;
use carillon_sim::Engine;
use carillon_sim::VectorPolicy;
use carillon_sim::sweep::Shard;
use clap::Args;
use clap::Subcommand;
use clap::builder::TypedValueParser;

use super::HostArgs;
use super::IpiArgs;
use super::OutputArgs;
use super::SimulateMoveArgs;
use super::one_of;
use crate::quantity;

/// What is simulated.
#[derive(Args, Clone, Debug)]
pub(crate) struct SubjectArgs {
    /// A scenario: a name from `carillon scenarios`, or a TOML file
    #[arg(conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) scenario: Option<String>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// How many times as fast as the recorded machine the simulated one is [default: 1 for yours; 50 for those that come
    /// with carillon, which were recorded under emulation]
    #[arg(long, conflicts_with = "scenario")]
    pub(crate) speed: Option<std::num::NonZeroU32>,
    /// How long to simulate: 500ms, 2s [default: the scenario's]
    #[arg(long = "for", value_name = "TIME", value_parser = quantity::parse)]
    pub(crate) duration_ns: Option<u64>,
    /// Set a cost, as in --cost vm_exit=900; `carillon explain costs` lists them
    #[arg(long, value_name = "NAME=NS", value_parser = quantity::parse_cost)]
    pub(crate) cost: Vec<(String, u64)>,
}

/// What to simulate.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// Policies to compare [default: the scenario's own, and what the plan makes of it]
    #[arg(long, value_name = "POLICY", value_delimiter = ',', value_parser = policy())]
    pub(crate) policy: Vec<VectorPolicy>,
    /// Paths of guests' devices to compare [default: the scenario's own, or posted with --engine]
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = path())]
    pub(crate) path: Vec<DevicePath>,
    /// Engines that serve guests' local APICs, to compare; `all` for all of them [default: the scenario's own]
    #[arg(long, value_name = "ENGINE", value_delimiter = ',', value_parser = engines())]
    pub(crate) engine: Vec<Engines>,
    /// Seed of every random choice [default: the scenario's]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// A factor on every workload's rate [default: the scenario's]
    #[arg(long, value_parser = quantity::parse_load)]
    pub(crate) load: Option<f64>,
    /// Write a self-contained HTML report
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write a trace of the first run, for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) other: Option<OtherSimulation>,
}

/// What to sweep over.
#[derive(Args, Debug)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// Policies [default: all]
    #[arg(long, value_name = "POLICY", value_delimiter = ',', value_parser = policy())]
    pub(crate) policy: Vec<VectorPolicy>,
    /// Delivery paths of guests' devices [default: all]
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = path())]
    pub(crate) path: Vec<DevicePath>,
    /// Factors on every workload's rate
    #[arg(long, value_delimiter = ',', default_values_t = [1.0], value_parser = quantity::parse_load)]
    pub(crate) load: Vec<f64>,
    /// Seeds
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    pub(crate) seed: Vec<u64>,
    /// Where the results go, a line of JSON per point; points that are in it are not run again
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Write the results as a table too, a row per point and source
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Run only every N-th point, from the I-th on (1/4 … 4/4); the files of all shards concatenate
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    pub(crate) shard: Shard,
    /// Threads [default: one per CPU]
    #[arg(long)]
    pub(crate) threads: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A simulation that is no scenario.
#[derive(Debug, Subcommand)]
pub(crate) enum OtherSimulation {
    /// What an IPI costs on each engine: the published figures, the steps, and the five modes of the IPI microbenchmark
    Ipi(IpiArgs),
    /// A vCPU's move to another CPU, step by step, while a device and another vCPU interrupt it
    Move(SimulateMoveArgs),
}

/// Engines as one word names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engines {
    /// All that can be compared.
    All,
    /// One.
    One(Engine),
}

fn policy() -> impl TypedValueParser<Value = VectorPolicy> {
    one_of(VectorPolicy::ALL.map(|policy| (policy.name(), policy)))
}

fn path() -> impl TypedValueParser<Value = DevicePath> {
    one_of(DevicePath::ALL.map(|path| (path.name(), path)))
}

fn engines() -> impl TypedValueParser<Value = Engines> {
    let [software, apicv, posted, ipiv, avic] = Engine::ALL.map(|engine| (engine.name(), Engines::One(engine)));
    let chosen = (Engine::Chosen.name(), Engines::One(Engine::Chosen));
    one_of([chosen, software, apicv, posted, ipiv, avic, ("all", Engines::All)])
}
