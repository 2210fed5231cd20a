//! Importers of recorded input: what a Xen host prints about its interrupts, what it traced, and how a guest is configured.
//!
//! Each format has one file with a `parse(&Source)`; its errors name file, line (byte, for binary files), what was
//! expected and what was found. What an importer passes over it counts and says in a [`Note`].
//!
//! Nothing here trusts the file: it may be cut short, damaged or written by a guest. Memory is bounded by a small multiple
//! of the file's size, numbers are checked before they are used, and no count of the file's is believed.

pub mod boot_log;
mod console;
pub(crate) mod cursor;
pub mod dump_e;
pub mod dump_i;
pub mod dump_m;
pub mod dump_q;
pub mod dump_z;
pub(crate) mod encode;
mod error;
pub mod ftrace;
mod hvm_event;
mod io_apic;
pub mod lsevtchn;
mod note;
pub mod pci;
pub mod proc_interrupts;
mod sched_event;
mod source;
mod trace_event;
pub mod xentrace;
pub mod xl;
pub mod xl_config;
mod xl_pci;

pub use boot_log::BootLog;
pub use boot_log::Virtualization;
pub use dump_e::Binding;
pub use dump_e::DomainPorts;
pub use dump_e::EventDump;
pub use dump_e::PortLine;
pub use dump_e::QueueState;
pub use dump_i::Binder;
pub use dump_i::DirectVector;
pub use dump_i::Flag;
pub use dump_i::Handling;
pub use dump_i::IrqDump;
pub use dump_i::IrqLine;
pub use dump_i::IrqStatus;
pub use dump_i::Trigger;
pub use dump_m::Maskability;
pub use dump_m::MsiDump;
pub use dump_m::MsiLine;
pub use dump_m::MsiSender;
pub use dump_q::DomainDump;
pub use dump_q::DomainInfo;
pub use dump_q::VcpuInfo;
pub use dump_z::IoApic;
pub use dump_z::IoApicDump;
pub use error::FramingError;
pub use error::ImportError;
pub use ftrace::HandlerRun;
pub use ftrace::HandlerTrace;
pub use hvm_event::HvmEvent;
pub use hvm_event::Level;
pub use io_apic::DestinationMode;
pub use io_apic::PinLine;
pub use io_apic::RedirectionEntry;
pub use lsevtchn::PortStatus;
pub use note::Note;
pub use pci::PciFunction;
pub use proc_interrupts::InterruptRow;
pub use proc_interrupts::InterruptTable;
pub use proc_interrupts::ProcInterrupts;
pub use sched_event::Credit2Event;
pub use sched_event::IDLE_DOMAIN;
pub use sched_event::RunState;
pub use sched_event::SchedEvent;
pub use sched_event::SchedulerEvent;
pub use sched_event::SchedulerName;
pub use source::Source;
pub use trace_event::IrqEvent;
pub use trace_event::PowerEvent;
pub use trace_event::TraceEvent;
pub use trace_event::VectorChange;
pub use xentrace::Extra;
pub use xentrace::Record;
pub use xentrace::Trace;
pub use xl::Affinity;
pub use xl::DomainLine;
pub use xl::VcpuLine;
pub use xl::XlInfo;
pub use xl_config::XlConfig;
pub use xl_pci::PassedThrough;
