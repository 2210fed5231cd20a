//! The event channels' behaviour as a guest and its hypervisor see it.
#![cfg(not(loom))]

mod guest;
mod host;
mod irqs;

mod conformance;
mod model;
mod passed_through;
mod physical_irqs;
mod properties;
mod regressions;
mod saving;
mod soak;
mod upcalls;
