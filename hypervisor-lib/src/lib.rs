//! The hypervisor's side of interrupt delivery.
//!
//! What it is: the part of Carillon a hypervisor or a toolstack links to decide how an interrupt reaches its guest.
//! What it is not: the arbitration of host vectors, which is the `vector-allocator` crate's; nor a driver of real
//! hardware, which is an edge's. It holds [`event`], the event channels and physical IRQs; [`delivery`], the local APICs of
//! guests; [`migration`], how a vCPU moves between physical CPUs; [`fabric`], the classifier of paths; [`offer`], what a guest is told; [`msix`] and [`remapping`], what is believed of
//! a device that sends messages.
//!
//! ```
//! use hypervisor_lib::fabric::{DomainFeatures, Path, Signal, classify};
//!
//! // A paravirtual guest with a passed-through NIC: its MSI-X becomes an event.
//! let route = classify(DomainFeatures::pv(), Signal::DeviceMsi);
//! assert_eq!(route.path, Path::PirqEvent);
//! assert_eq!(route.to_string(), "physical IRQ as event: a PV domain has no local APIC, so every physical interrupt is an event");
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod delivery;
pub mod event;
pub mod fabric;
pub mod migration;
pub mod msix;
pub mod offer;
pub mod remapping;
