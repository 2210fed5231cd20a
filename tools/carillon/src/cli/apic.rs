//! The words of questions about local APICs: what becomes of an access, and what an IPI costs.

use std::path::PathBuf;

use carillon_sim::ipi::Contender;
use carillon_sim::ipi::Sending;
use clap::Args;
use clap::builder::TypedValueParser;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::GuestMode;
use hypervisor_lib::delivery::register_access::ENGINES;

use super::OutputArgs;
use super::one_of;
use crate::explain_access;
use crate::quantity;
use crate::simulate_ipi;

/// Which write.
#[derive(Args, Debug)]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// What is written, 0x… or decimal; of ICR in xAPIC mode the upper half is its destination register. A command without
    /// a value is answered for every kind of command
    #[arg(long, value_parser = quantity::parse_word)]
    pub(crate) value: Option<u64>,
}

/// Which access.
#[derive(Args, Debug)]
pub(crate) struct AccessArgs {
    /// Its offset into the page (300), its MSR (0x830), both hexadecimal, or its name (ICR)
    pub(crate) register: String,
    /// The engine [default: all, side by side]
    #[arg(long, value_parser = delivery_engine())]
    pub(crate) engine: Option<Engine>,
    /// How the guest reaches its local APIC [default: both, unless an MSR says which]
    #[arg(long, value_parser = apic_mode())]
    pub(crate) mode: Option<GuestMode>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What of IPIs to simulate.
#[derive(Args, Debug)]
pub(crate) struct IpiArgs {
    /// Engines to compare [default: all]
    #[arg(long, value_name = "ENGINE", value_delimiter = ',', value_parser = contender())]
    pub(crate) engine: Vec<Contender>,
    /// How the guest reaches its local APICs
    #[arg(long, value_parser = apic_mode(), default_value = "x2apic")]
    pub(crate) mode: GuestMode,
    /// vCPUs of the guest, each running on a CPU of its own
    #[arg(long, default_value_t = 8)]
    pub(crate) vcpus: u32,
    /// Turns of each mode of the benchmark
    #[arg(long, default_value_t = 10_000)]
    pub(crate) turns: u32,
    /// How a broadcast is sent: by one command with a shorthand, or by a command to each
    #[arg(long, value_parser = sending(), default_value = "shorthand")]
    pub(crate) broadcast: Sending,
    /// Seed of the deviations
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write a self-contained HTML report with the distributions
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn delivery_engine() -> impl TypedValueParser<Value = Engine> {
    one_of(ENGINES.map(|engine| (explain_access::engine_name(engine), engine)))
}

fn apic_mode() -> impl TypedValueParser<Value = GuestMode> {
    one_of([GuestMode::XApic, GuestMode::X2Apic].map(|mode| (explain_access::mode_name(mode), mode)))
}

fn contender() -> impl TypedValueParser<Value = Contender> {
    one_of(Contender::ALL.map(|contender| (contender.name(), contender)))
}

fn sending() -> impl TypedValueParser<Value = Sending> {
    one_of([Sending::Shorthand, Sending::Each].map(|sending| (simulate_ipi::sending_name(sending), sending)))
}
