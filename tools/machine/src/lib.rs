//! A model of the interrupt hardware and of Xen's host-side handling of it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod boundary;
mod config;
mod consistency;
mod costs;
mod host;
mod lapic;
mod machine;
mod time;
mod timer;
mod trigger;
mod virtual_apic;

pub use boundary::Boundary;
pub use boundary::Event;
pub use boundary::InterruptFlag;
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
pub use lapic::Acceptance;
pub use lapic::Acknowledged;
pub use lapic::Lapic;
pub use lapic::XEN_TPR;
pub use machine::Broken;
pub use machine::Machine;
pub use machine::MoveError;
pub use machine::Relocation;
pub use time::Span;
pub use time::Time;
pub use timer::Timer;
pub use virtual_apic::PostedBit;
pub use virtual_apic::PostedDescriptor;
pub use virtual_apic::Recognition;
pub use virtual_apic::VirtualApic;
