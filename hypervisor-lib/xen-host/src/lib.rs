//! The hypervisor as dom0 of a Xen host sees it.
//!
//! What it is: hypercalls through `/dev/xen/privcmd` ([`Privcmd`]), and over them what a toolstack asks of the host
//! ([`Hypervisor`]): its version, its domains and where their vCPUs run, the console ring with what debug keys print
//! ([`ConsoleReader`]), the trace buffers ([`TraceBuffers`]). Beside them event channels of dom0's own ([`EventChannels`])
//! and a client of xenstore ([`XenStore`]).
//!
//! What it is not: a toolstack. It changes nothing but what its caller asks for, and knows nothing of vectors.
//!
//! Whatever needs a device stands behind a trait ([`Hypercalls`], [`ForeignMemory`]), so that the rest is tested against a
//! hypervisor that is a few lines of Rust. The kernel's interfaces are in `linux/include/uapi/xen/privcmd.h` and
//! `evtchn.h`, the hypervisor's in `hypervisor-abi`.
//!
//! ```no_run
//! use carillon_xen_host::ConsoleReader;
//! use carillon_xen_host::DebugKey;
//! use carillon_xen_host::Hypervisor;
//! use carillon_xen_host::Privcmd;
//!
//! let xen = Hypervisor::new(Privcmd::open()?)?;
//! println!("{} with {} CPUs", xen.version()?, xen.physical_info()?.nr_cpus);
//! let mut console = ConsoleReader::default();
//! console.read(&xen)?;
//! println!("{}", String::from_utf8_lossy(&console.dump(&xen, DebugKey::Irqs)?.text));
//! # Ok::<(), carillon_xen_host::XenError>(())
//! ```
#![expect(unsafe_code, reason = "an edge: ioctl and mmap; docs/src/safety.md has the list")]

mod calls;
mod console;
mod device;
mod domains;
mod error;
mod evtchn;
#[cfg(test)]
mod fake;
mod foreign;
mod host_info;
mod hypervisor;
mod pages;
mod ports;
mod privcmd;
mod trace;
mod xenstore;

pub use calls::Buffer;
pub use calls::Call;
pub use calls::HypercallNumber;
pub use calls::Hypercalls;
pub use calls::Refused;
pub use console::ConsoleReader;
pub use console::ConsoleText;
pub use console::DebugKey;
pub use domains::Domain;
pub use domains::DomainFlags;
pub use domains::Vcpu;
pub use error::XenError;
pub use evtchn::EventChannels;
pub use foreign::ForeignMemory;
pub use foreign::Frame;
pub use foreign::MappedFrames;
pub use foreign::Words;
pub use host_info::CompiledBy;
pub use host_info::Scheduler;
pub use host_info::XenVersion;
pub use hypervisor::Hypervisor;
pub use privcmd::Privcmd;
pub use trace::TraceBuffers;
pub use trace::TraceSize;
pub use xenstore::XenStore;
