//! The words of the command line.

use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

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
  0  done; nothing was found wrong
  1  the input could not be read or does not make sense; the message says what and where
  2  the command line is wrong
  3  done, and the answer is no: `inspect` found inversions, `plan` leaves some, `capacity` does not fit";

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal that has not asked for none
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
    Inspect {
        /// The host
        #[command(flatten)]
        host: HostArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Find the smallest set of moves after which no guest outranks dom0 or can hold it back
    Plan {
        /// The host
        #[command(flatten)]
        host: HostArgs,
        /// Mend only these kinds of inversion
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Rank, Kind::Possible, Kind::Retention])]
        mend: Vec<Kind>,
        /// Leave dom0's and Xen's own sources where they are
        #[arg(long)]
        guests_only: bool,
        /// Leave every source on its CPU; only its vector may change
        #[arg(long)]
        keep_cpus: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Say whether a number of devices fits, and which limit binds
    Capacity(CapacityArgs),
    /// Simulate a scenario or a recorded host, under one or several policies and delivery paths
    Simulate(SimulateArgs),
    /// Simulate every combination of policies, delivery paths, loads and seeds; resumes where it stopped
    Sweep(SweepArgs),
    /// Explain a vector (0xd8), a delivery path, or a term (PPR, posted interrupt)
    Explain {
        /// What to explain; a list of what there is if left out
        what: Vec<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the scenarios that come with it, or one of them as a file to start from
    Scenarios {
        /// The scenario to print
        name: Option<String>,
    },
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Where to
        directory: PathBuf,
    },
}

/// Which host.
#[derive(Args, Debug)]
pub(crate) struct HostArgs {
    /// A directory with the dumps of a host (dump-i.txt and what else there is); `carillon explain dumps` says how to make it
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    pub(crate) from: Option<PathBuf>,
    /// A recorded host that comes with carillon [default: all of them]
    #[arg(long, value_enum)]
    pub(crate) recorded: Option<RecordedHost>,
}

/// A recorded host that comes with carillon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordedHost {
    /// Dom0 with two SAS controllers, a guest with a 10 Gb/s NIC by MSI-X
    XenSasNic,
    /// The same host, a guest with a NIC on a shared level-triggered line
    XenSasIntx,
}

/// How to print.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// A kind of inversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A guest's vector above one of dom0's on the same CPU now
    Rank,
    /// The same after a change of affinity or a decision of the scheduler
    Possible,
    /// A guest's source that keeps the in-service bit and blocks dom0's class
    Retention,
}

/// What must fit.
#[derive(Args, Debug)]
pub(crate) struct CapacityArgs {
    /// Passed-through devices
    #[arg(long, default_value_t = 1)]
    pub(crate) devices: u32,
    /// Vectors (queues and others) per device
    #[arg(long, default_value_t = 1)]
    pub(crate) queues: u32,
    /// Guests the devices are spread over
    #[arg(long, default_value_t = 1)]
    pub(crate) guests: u32,
    /// vCPUs per guest
    #[arg(long, default_value_t = 1)]
    pub(crate) vcpus: u32,
    /// Physical CPUs
    #[arg(long, default_value_t = 4)]
    pub(crate) pcpus: u32,
    /// The host's vector layout and limits
    #[arg(long, value_enum, default_value_t = LayoutName::Xen)]
    pub(crate) layout: LayoutName,
    /// How external interrupts are addressed
    #[arg(long, value_enum, default_value_t = Destination::Physical)]
    pub(crate) destination: Destination,
    /// Vectors dom0 and Xen hold already
    #[arg(long, default_value_t = 0)]
    pub(crate) taken: u32,
    /// Xen's `extra_guest_irqs`: physical IRQs per guest
    #[arg(long, default_value_t = 32)]
    pub(crate) extra_guest_irqs: u32,
    /// The guest's `max_event_channels`
    #[arg(long, default_value_t = 1023)]
    pub(crate) max_event_channels: u32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A vector layout.
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
    /// One CPU, one vector
    Physical,
    /// One vector on all of up to 8 CPUs
    Flat,
    /// One vector on all CPUs of a cluster of 16
    Cluster,
}

/// A policy that gives vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyName {
    /// The vectors as the host or scenario has them
    Recorded,
    /// The recorded vectors after the plan's moves
    Planned,
    /// Xen's global cursor
    XenCursor,
    /// Linux's most-available CPU
    Spread,
    /// Ours: guests below dom0 on every CPU
    BelowDom0,
}

/// A delivery path for guests' devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// As the host or scenario has it
    AsIs,
    /// Physical IRQ as event
    Event,
    /// Remapped, injected after an exit
    Remapped,
    /// Posted by the IOMMU
    Posted,
}

/// What to simulate.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// A scenario: a name from `carillon scenarios`, or a TOML file
    #[arg(conflicts_with_all = ["from", "recorded"])]
    pub(crate) scenario: Option<String>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Policies to compare
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) policy: Vec<PolicyName>,
    /// Delivery paths to compare
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) engine: Vec<EngineName>,
    /// Seed of every random choice [default: the scenario's]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How long to simulate: 500ms, 2s [default: the scenario's]
    #[arg(long = "for", value_name = "TIME", value_parser = crate::duration::parse)]
    pub(crate) duration: Option<u64>,
    /// A factor on every workload's rate
    #[arg(long, default_value_t = 1.0, value_parser = crate::duration::parse_load)]
    pub(crate) load: f64,
    /// Set a cost, as in --cost exit_external_interrupt=900; `carillon explain costs` lists them
    #[arg(long, value_name = "NAME=NS")]
    pub(crate) cost: Vec<String>,
    /// Write a self-contained HTML report
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What to sweep over.
#[derive(Args, Debug)]
pub(crate) struct SweepArgs {
    /// A scenario: a name from `carillon scenarios`, or a TOML file
    #[arg(conflicts_with_all = ["from", "recorded"])]
    pub(crate) scenario: Option<String>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Policies
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) policy: Vec<PolicyName>,
    /// Delivery paths
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) engine: Vec<EngineName>,
    /// Factors on every workload's rate
    #[arg(long, value_delimiter = ',', default_values_t = [1.0], value_parser = crate::duration::parse_load)]
    pub(crate) load: Vec<f64>,
    /// Seeds
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    pub(crate) seed: Vec<u64>,
    /// How long each run simulates
    #[arg(long = "for", value_name = "TIME", value_parser = crate::duration::parse)]
    pub(crate) duration: Option<u64>,
    /// Where results go: .jsonl or .csv; points already in it are not run again
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Run only every n-th point, from the i-th on (1/4 … 4/4); the files of all shards concatenate
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<String>,
    /// Threads [default: one per CPU]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}
