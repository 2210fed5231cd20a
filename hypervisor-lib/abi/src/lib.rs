//! Layouts shared by hypervisor and guest: what the bits mean, without any policy.
//!
//! What it is: [`event`] has the operations of event channels, their arguments and the words both sides share;
//! [`shared_info`] and [`vcpu_info`] the pages the older ABI lives in; [`hvm`], [`cpuid`] and [`features`] how an HVM
//! guest finds all that and asks for upcalls; [`physdev`] and [`domctl`] physical IRQs and passed-through ones;
//! [`sysctl`], [`version`] and [`xenstore`] what a toolstack asks of the host; [`memory`] and [`sched`] the two calls a
//! guest's set-up and waiting need; [`apic`] the registers and messages of local APICs; [`posted`] and [`pid_pointer`]
//! what Intel's hardware reads to deliver interrupts itself, [`avic`] and [`amd_iommu`] what AMD's does, [`vtd`] what
//! Intel's IOMMU reads; [`virq`] the hypervisor's own events; [`errno`] why a call failed; [`trace`] the records of
//! Xen's trace buffers. What it is not: a way to map memory, or a protocol; hypervisor and guest bring their own.
//!
//! Structures the peer may write ([`page::Shared`]) are made of atomics; under `--cfg loom` of loom's, so that the
//! protocols over them can be model-checked.
//!
//! ```
//! use hypervisor_abi::event::EventWordValue;
//!
//! // Port 3 is pending and linked; port 17 follows it in the queue.
//! let word = EventWordValue::from(0xa000_0011);
//! assert!(word.pending() && word.linked() && !word.masked());
//! assert_eq!(word.link(), 17);
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod amd_iommu;
pub mod apic;
pub mod avic;
pub mod cpuid;
pub mod domain;
pub mod domctl;
pub mod errno;
pub mod event;
pub mod features;
pub mod hvm;
#[cfg(not(any(loom, shuttle)))]
mod layout;
pub mod memory;
pub mod page;
pub mod physdev;
pub mod pid_pointer;
pub mod posted;
pub mod sched;
pub mod shared_info;
pub mod sync;
pub mod sysctl;
pub mod trace;
pub mod vcpu_info;
pub mod version;
pub mod virq;
pub mod vtd;
pub mod xenstore;

pub use domain::DomainId;
pub use domain::VcpuId;
pub use errno::Errno;
pub use event::Port;
pub use page::PAGE_SIZE;
pub use page::Shared;
pub use posted::PostedDescriptor;
pub use shared_info::SharedInfo32;
pub use shared_info::SharedInfo64;
pub use vcpu_info::VcpuInfo32;
pub use vcpu_info::VcpuInfo64;
pub use virq::Virq;
