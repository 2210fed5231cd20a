//! A recorded host: its files joined, in the words of people, of the arbiter and of the simulator.
//!
//! ```
//! use carillon_sim::snapshot::HostSnapshot;
//! use carillon_sim::snapshot::Recorded;
//!
//! let host = HostSnapshot::recorded(Recorded::SasNic)?;
//! let nic = host.sources().into_iter().find(|source| source.label == "eth0-rxtx-0").unwrap();
//! assert_eq!((nic.irq, nic.owner.to_string().as_str()), (26, "d1"));
//! # Ok::<(), carillon_sim::import::ImportError>(())
//! ```

mod activity;
mod addressing;
mod assignment;
mod contradictions;
mod domain_facts;
mod harms;
mod host_snapshot;
mod names;
mod part;
mod recording;
mod routes;
mod source_facts;
mod vcpu_activity;

pub use activity::Activity;
pub use activity::Arrival;
pub use activity::CountChange;
pub use activity::HandlerActivity;
pub use activity::SourceActivity;
pub use addressing::Finding;
pub use addressing::HostFacts;
pub use domain_facts::DomainFacts;
pub use domain_facts::VcpuFacts;
pub use harms::Harm;
pub use harms::Harms;
pub use harms::Retainer;
pub use harms::SourceName;
pub use host_snapshot::HostSnapshot;
pub use recording::Recorded;
pub use routes::RouteFinding;
pub use source_facts::SourceBinding;
pub use source_facts::SourceFacts;
pub use vcpu_activity::Stay;
pub use vcpu_activity::StayState;
pub use vcpu_activity::VcpuActivity;
