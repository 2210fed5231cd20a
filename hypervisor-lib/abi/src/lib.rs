//! Layouts shared by hypervisor and guest: what the bits mean, without any policy.
//!
//! [`trace`] has the records of Xen's trace buffers. Nothing here reads or writes memory; callers bring words and get
//! fields.
//!
//! ```
//! use hypervisor_abi::trace::TraceHeader;
//!
//! let header = TraceHeader::from(0xb080_2008);
//! assert_eq!(header.event(), hypervisor_abi::trace::HW_IRQ_HANDLED);
//! assert_eq!(header.extra_words(), 3);
//! assert!(header.has_cycles());
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod trace;
