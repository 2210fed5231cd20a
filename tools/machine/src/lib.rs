//! A model of the interrupt hardware and of Xen's host-side handling of it.
//!
//! It is a state machine of physical CPUs with their local APICs, interrupt sources, domains and vCPUs under a scheduler.
//! It is no engine: it has no clock and no queue. Whoever drives it (tools/sim) gives it the time with every call, keeps
//! its timers, and hears [`Fact`]s: what was raised, dispatched, completed, and which interrupt of dom0 waited for a guest.
//!
//! ```text
//!   raise ─► trigger ─► local APIC ─► host handler ─► delivery ─► vCPU: entry, handler, EOI ─► completed
//!            MSI, pin   IRR/ISR/PPR   frames, EOI stack  event channel | remapped | posted
//! ```
//!
//! ```
//! use carillon_machine::*;
//! use vector_allocator::*;
//!
//! #[derive(Default)]
//! struct Driver(Vec<(Time, Timer)>, Vec<Fact>);
//! impl Host for Driver {
//!     fn schedule(&mut self, at: Time, timer: Timer) {
//!         self.0.push((at, timer));
//!     }
//!     fn observe(&mut self, _at: Time, fact: Fact) {
//!         self.1.push(fact);
//!     }
//! }
//!
//! let timer = SourceConfig {
//!     id: SourceId(2),
//!     label: "hpet".into(),
//!     owner: Owner::System,
//!     kind: SourceKind::EdgeMaskable,
//!     vector: Some(vector_allocator::Vector::new(0x31)?),
//!     target: CpuId(0),
//!     path: Path::Hypervisor { handler: Span(500), interruptible: true },
//! };
//! let mut machine = Machine::new(&MachineConfig {
//!     cpus: 1,
//!     vendor: Vendor::Intel,
//!     model: DestinationModel::Physical,
//!     layout: VectorLayout::xen(XenLayout::default()),
//!     ioapic_ack: IoApicAck::New,
//!     policy: Policy::XenCursor,
//!     scheduler: Scheduler::Null,
//!     costs: Costs::default(),
//!     domains: vec![],
//!     sources: vec![timer],
//! })?;
//! let mut driver = Driver::default();
//! machine.start(Time(0), &mut driver);
//! machine.raise(Time(0), SourceIndex(0), &mut driver);
//! while let Some((at, timer)) = driver.0.pop() {
//!     machine.expire(at, timer, &mut driver);
//! }
//! assert!(driver.1.contains(&Fact::Completed { source: SourceIndex(0) }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod apic;
mod arrival;
mod assembly;
mod blame;
mod config;
mod consistency;
mod costs;
mod delivery;
mod dispatch;
mod events;
mod execution;
mod guest;
mod host;
mod interruptibility;
mod invariants;
pub mod iommu;
mod irq;
mod lapic;
mod machine;
mod offline;
mod out;
mod pcpu;
mod posting;
mod relocate;
mod sched;
mod signal;
mod source;
mod storm;
pub mod svm;
mod switching;
mod time;
mod timer;
mod trigger;
mod vcpu;
pub mod vmx;

pub use apic::TooManyMessages;
pub use arrival::GuestMask;
pub use config::DeferredWork;
pub use config::DomainConfig;
pub use config::DomainKind;
pub use config::EventAbi;
pub use config::MachineConfig;
pub use config::Path;
pub use config::Scheduler;
pub use config::SourceConfig;
pub use config::VcpuConfig;
pub use config::VcpuLoad;
pub use config::VcpuRef;
pub use config::Vendor;
pub use consistency::ConfigError;
pub use consistency::DeferredFault;
pub use consistency::MAX_CPUS;
pub use consistency::PathFault;
pub use costs::Cost;
pub use costs::CostError;
pub use costs::CostInfo;
pub use costs::Costs;
pub use events::EventDomain;
pub use events::EventFault;
pub use host::BlockCause;
pub use host::ExitCause;
pub use host::Fact;
pub use host::Host;
pub use host::RetentionEnd;
pub use host::SourceIndex;
pub use interruptibility::InterruptFlag;
pub use interruptibility::Recognition;
pub use invariants::Broken;
pub use lapic::Acceptance;
pub use lapic::Acknowledged;
pub use lapic::Lapic;
pub use lapic::XEN_TPR;
pub use machine::Machine;
pub use offline::OfflineError;
pub use posting::PostedMemory;
pub use posting::Urgency;
pub use posting::post;
pub use relocate::MoveError;
pub use relocate::Relocation;
pub use signal::Doorbell;
pub use signal::Input;
pub use signal::Inputs;
pub use signal::Interconnect;
pub use signal::InterruptMessage;
pub use signal::Signal;
pub use storm::STORM_LIMIT;
pub use storm::STORM_PERIOD;
pub use time::Span;
pub use time::Time;
pub use timer::Timer;

pub use guest_shim::EoiMode;
pub use hypervisor_abi::event::FifoPriority;
pub use hypervisor_lib::delivery::DoorbellRinger;
pub use hypervisor_lib::delivery::Engine;
