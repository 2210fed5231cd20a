//! A model of the interrupt hardware and of Xen's host-side handling of it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod consistency;
mod costs;
mod host;
mod machine;
mod time;
mod timer;

pub use config::DomainConfig;
pub use config::DomainKind;
pub use config::MachineConfig;
pub use config::Path;
pub use config::Scheduler;
pub use config::SourceConfig;
pub use config::VcpuConfig;
pub use config::VcpuLoad;
pub use config::VcpuRef;
pub use config::Vendor;
pub use consistency::ConfigError;
pub use consistency::MAX_CPUS;
pub use consistency::PathFault;
pub use costs::Cost;
pub use costs::CostError;
pub use costs::CostInfo;
pub use costs::Costs;
pub use host::BlockCause;
pub use host::ExitCause;
pub use host::Fact;
pub use host::Host;
pub use host::RetentionEnd;
pub use host::SourceIndex;
pub use machine::Broken;
pub use machine::Machine;
pub use machine::MoveError;
pub use machine::Relocation;
pub use time::Span;
pub use time::Time;
pub use timer::Timer;
