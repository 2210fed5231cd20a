//! The event channels' behaviour as a guest and its hypervisor see it.
#![cfg(not(loom))]

mod guest;
mod host;

mod conformance;
mod model;
mod properties;
mod regressions;
mod saving;
mod soak;
mod upcalls;
