//! The words of the command line.

mod apic;
mod apply;
mod moving;
mod watch;

use std::path::PathBuf;

use carillon_sim::DevicePath;
use carillon_sim::Engine;
use carillon_sim::VectorPolicy;
use carillon_sim::snapshot::Recorded;
use carillon_sim::sweep::Shard;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

pub(crate) use apic::AccessArgs;
pub(crate) use apic::ExplainQuery;
pub(crate) use apic::IpiArgs;
pub(crate) use apic::OtherSimulation;
pub(crate) use apply::ApplyArgs;
pub(crate) use apply::GoalArgs;
pub(crate) use moving::MoveArgs;
pub(crate) use watch::WatchArgs;

use crate::output::Format;
use crate::quantity;

/// See, plan and simulate which interrupt outranks which on a Xen host.
///
/// Without a command it does the main job on two recorded hosts that come with it: who owns which vector on which CPU,
/// where a guest outranks dom0 or can hold it back, the smallest set of moves that mends it, and both simulated.
#[derive(Debug, Parser)]
#[command(name = "carillon", version, max_term_width = 120, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do; the main job if left out
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the input could not be read or does not make sense; the message says what and where
  2  the command line is wrong
  3  done, and the answer is no: `inspect` found inversions, `plan` leaves some it was to mend, `capacity` does not fit,
     `check-config` found what stands in a device's way, `apply` refuses
  4  `apply` took back what it had changed
  5  `apply` has nothing to do";

const APPLY_CODES: &str = "Exit codes: 0 done (or can be), 3 refused, 4 taken back, 5 nothing to do, 1 bad input or the host failed, 2 \
                           bad command line";

const ANSWER_CODES: &str =
    "Exit codes: 0 the answer is yes, 3 it is no, 1 bad input, 2 bad command line; see carillon --help";

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show who owns which vector on which CPU, and where a guest outranks dom0 or can hold it back
    #[command(after_long_help = ANSWER_CODES)]
    Inspect(InspectArgs),
    /// Write what this host says of its interrupts into a directory, for --from; runs in dom0 as root
    Record(RecordArgs),
    /// Show how often each interrupt and each of dom0's events comes, now (in dom0 as root) or in a recording
    Top(TopArgs),
    /// Find the smallest set of moves after which no guest outranks dom0 or can hold it back
    #[command(after_long_help = ANSWER_CODES)]
    Plan(PlanArgs),
    /// Carry a plan out on this host, each step predicted, read back and taken back if need be; without --execute, say what
    /// would be done; runs in dom0 as root
    #[command(after_long_help = APPLY_CODES)]
    Apply(ApplyArgs),
    /// Keep this host in order: look again and again, and mend what migrations and new devices break; without --execute, say
    /// what would be done; runs in dom0 as root
    Watch(WatchArgs),
    /// Say whether a number of devices fits, and which limit binds
    #[command(after_long_help = ANSWER_CODES)]
    Capacity(CapacityArgs),
    /// Say which path each device of a guest's xl configuration takes, whether its interrupts fit, and what to change
    #[command(after_long_help = ANSWER_CODES)]
    CheckConfig(CheckConfigArgs),
    /// Simulate a scenario or a recorded host, and compare policies and delivery paths; or what an IPI costs (simulate ipi)
    #[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
    Simulate(SimulateArgs),
    /// Simulate every combination of policies, delivery paths, loads and seeds; goes on where it stopped
    Sweep(SweepArgs),
    /// Explain a vector (0xd8), a delivery path (posted), a term (PPR), an access to an APIC register (apic-write 300), or a
    /// vCPU's move (move --from 0 --to 3)
    #[command(disable_help_subcommand = true)]
    Explain(ExplainArgs),
    /// List the scenarios that come with it, or print one of them as a file to start from
    Scenarios(ScenariosArgs),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Where to; made if it is not there
        directory: PathBuf,
    },
}

/// Which host.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// A directory with a host's dumps (dump-i.txt and what else there is); `carillon explain dumps` says how to make it
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    pub(crate) from: Option<PathBuf>,
    /// A recorded host that comes with carillon [default: all of them]
    #[arg(long, value_name = "NAME", value_parser = recorded())]
    pub(crate) recorded: Option<Recorded>,
    /// This host, as it is now; runs in dom0 as root
    #[arg(long, conflicts_with_all = ["from", "recorded"])]
    pub(crate) live: bool,
}

/// How to print.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// The same, or JSON if `other` asks for it.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self { json: self.json || other.json }
    }

    /// For whom the answer is.
    pub(crate) const fn format(self) -> Format {
        if self.json { Format::Json } else { Format::Page }
    }
}

/// What to inspect.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where to record to.
#[derive(Args, Debug)]
pub(crate) struct RecordArgs {
    /// The directory; made if it is not there, and refused if it is not empty
    pub(crate) directory: PathBuf,
    /// How long to trace: 500ms, 4s
    #[arg(long = "for", value_name = "TIME", default_value = "4s", value_parser = quantity::parse)]
    pub(crate) duration_ns: u64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What to count, and how to show it.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Print once and end
    #[arg(long, conflicts_with = "batch")]
    pub(crate) once: bool,
    /// Print so many times and end
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<std::num::NonZeroU32>,
    /// How long to count each time: 500ms, 2s
    #[arg(long = "interval", value_name = "TIME", default_value = "1s", value_parser = quantity::parse)]
    pub(crate) interval_ns: u64,
    /// A directory with a host's recording, instead of this host
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    pub(crate) from: Option<PathBuf>,
    /// A recorded host that comes with carillon, instead of this host
    #[arg(long, value_name = "NAME", value_parser = recorded())]
    pub(crate) recorded: Option<Recorded>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

impl TopArgs {
    /// The recording asked for.
    pub(crate) fn host(&self) -> HostArgs {
        HostArgs { from: self.from.clone(), recorded: self.recorded, live: false }
    }
}

/// What to plan.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) goal: GoalArgs,
    /// Show the steps of each move
    #[arg(long)]
    pub(crate) steps: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which inversions to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mend {
    /// Every inversion, those a move can bring about among them
    All,
    /// Those that are there as the host stands
    Present,
    /// Retention alone, the only one that lasts longer than a handler
    Retention,
}

/// Whose vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MoversName {
    /// Guests'
    Guests,
    /// Anyone's
    Anyone,
}

/// Whose interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Whose {
    /// Nobody's
    Nobody,
    /// Guests'
    Guests,
    /// Anyone's
    Anyone,
}

/// What must fit.
#[derive(Args, Debug)]
pub(crate) struct CapacityArgs {
    /// Devices each domain gets
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub(crate) devices: u32,
    /// Queues per device, each with an interrupt of its own
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub(crate) queues: u32,
    /// Interrupts per device besides those of its queues: link state, administration
    #[arg(long, default_value_t = 1)]
    pub(crate) control_interrupts: u32,
    /// Guests that get devices; 0: dom0 gets them
    #[arg(long, default_value_t = 1)]
    pub(crate) guests: u32,
    /// vCPUs of each domain
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub(crate) vcpus: u32,
    /// How the devices signal
    #[arg(long, value_enum, default_value_t = SignalName::MsiX)]
    pub(crate) signal: SignalName,
    /// How physical interrupts reach the domain
    #[arg(long, value_enum, default_value_t = ArrivalName::Fifo)]
    pub(crate) arrival: ArrivalName,
    /// Event channels each domain has already [default: 6 per vCPU (7 with two-level) and 2, as a Linux guest has for
    /// its timer, its IPIs, xenstore and console; its virtual devices come on top]
    #[arg(long)]
    pub(crate) events_taken: Option<u32>,
    /// Whether the domain's kernel manages the queues' affinity, which reserves a vector on every vCPU
    #[arg(long)]
    pub(crate) managed: bool,
    /// Physical CPUs of the host
    #[arg(long, default_value_t = 4, value_parser = at_least_one(), conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) pcpus: u32,
    /// The host's map of vectors
    #[arg(long, value_enum, default_value_t = LayoutName::Xen, conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) layout: LayoutName,
    /// How external interrupts are addressed
    #[arg(long, value_enum, default_value_t = Destination::Physical, conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) destination: Destination,
    /// Vectors that are taken already
    #[arg(long, default_value_t = 0, conflicts_with_all = ["from", "recorded", "live"])]
    pub(crate) taken: u32,
    /// Bits of APIC id an MSI of the host carries; `remapped` with interrupt remapping
    #[arg(long, value_enum, default_value_t = MsiBits::Bits8)]
    pub(crate) msi_destination: MsiBits,
    /// Xen's `extra_guest_irqs`: physical interrupts of a guest beyond the GSIs
    #[arg(long, default_value_t = vector_allocator::HostLimits::EXTRA_GUEST_IRQS)]
    pub(crate) extra_guest_irqs: u32,
    /// The guests' `max_event_channels`
    #[arg(long, default_value_t = vector_allocator::HostLimits::MAX_EVENT_CHANNELS)]
    pub(crate) max_event_channels: u32,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which guest's configuration to check, and for which host.
#[derive(Args, Debug)]
pub(crate) struct CheckConfigArgs {
    /// The configuration, as `xl create` takes it
    #[arg(value_name = "GUEST.CFG")]
    pub(crate) config: PathBuf,
    /// A directory with the host's dumps; without a host, what depends on it is left open
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    pub(crate) from: Option<PathBuf>,
    /// A recorded host that comes with carillon
    #[arg(long, value_name = "NAME", value_parser = recorded())]
    pub(crate) recorded: Option<Recorded>,
    /// This host, as it is now; runs in dom0 as root
    #[arg(long, conflicts_with_all = ["from", "recorded"])]
    pub(crate) live: bool,
    /// Interrupts each passed-through function asks for [default: what the recording shows it to have; else one for each
    /// vCPU and one more for network and storage controllers, and one for others]
    #[arg(long, value_parser = at_least_one())]
    pub(crate) interrupts: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How a device signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignalName {
    /// MSI
    Msi,
    /// MSI-X
    MsiX,
}

/// How physical interrupts reach a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArrivalName {
    /// Event channels, FIFO: 131071 ports
    Fifo,
    /// Event channels, two-level, 64-bit: 4095 ports
    TwoLevel,
    /// Event channels, two-level, 32-bit: 1023 ports
    TwoLevel32,
    /// Native MSI to the domain's own local APICs
    LocalApic,
}

/// Bits of APIC id an MSI carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MsiBits {
    /// 8: APIC ids up to 254
    #[value(name = "8")]
    Bits8,
    /// 15, by the extended destination id
    #[value(name = "15")]
    Bits15,
    /// 32, by interrupt remapping
    Remapped,
}

/// A map of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// Xen's
    Xen,
    /// Linux's
    Linux,
}

/// How external interrupts are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Destination {
    /// One CPU each, one vector
    Physical,
    /// One vector on all of up to 8 CPUs
    Flat,
    /// One vector on all CPUs of a cluster of 16
    Cluster,
}

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

/// What to explain.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A vector, a path, a term, `paths`, `costs` or `dumps`; a list of what there is if left out
    pub(crate) what: Vec<String>,
    #[command(subcommand)]
    pub(crate) query: Option<ExplainQuery>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which scenario.
#[derive(Args, Debug)]
pub(crate) struct ScenariosArgs {
    /// The scenario to print; a list if left out
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn recorded() -> impl TypedValueParser<Value = Recorded> {
    one_of(Recorded::ALL.map(|recorded| (recorded.name(), recorded)))
}

fn policy() -> impl TypedValueParser<Value = VectorPolicy> {
    one_of(VectorPolicy::ALL.map(|policy| (policy.name(), policy)))
}

fn path() -> impl TypedValueParser<Value = DevicePath> {
    one_of(DevicePath::ALL.map(|path| (path.name(), path)))
}

/// Engines as one word names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engines {
    /// All that can be compared.
    All,
    /// One.
    One(Engine),
}

fn engines() -> impl TypedValueParser<Value = Engines> {
    let [software, apicv, posted, ipiv, avic] = Engine::ALL.map(|engine| (engine.name(), Engines::One(engine)));
    let chosen = (Engine::Chosen.name(), Engines::One(Engine::Chosen));
    one_of([chosen, software, apicv, posted, ipiv, avic, ("all", Engines::All)])
}

/// A parser of names that stand for values.
fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    named: [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let value_of = move |name: String| named.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value);
    PossibleValuesParser::new(named.map(|(name, _)| name))
        .try_map(move |name| value_of(name).ok_or_else(|| std::io::Error::other("no such name")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::Parser as _;

    use super::Cli;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_name_of_a_policy_a_path_and_a_recording_is_understood() {
        let policies = "--policy=recorded,xen-cursor,spread,below-dom0,planned";
        let paths = "--path=as-is,event,remapped,posted";
        for recorded in ["--recorded=xen-sas-nic", "--recorded=xen-sas-intx"] {
            assert!(Cli::try_parse_from(["carillon", "simulate", recorded, policies, paths]).is_ok());
        }
        assert!(Cli::try_parse_from(["carillon", "simulate", "--policy=best"]).is_err());
    }
}
