//! Interrupt delivery as a guest and its hypervisor see it.
#![cfg(not(loom))]

mod apicv;
mod commands;
mod engine;
mod local_sources;
mod machine;
mod model;
mod modes;
mod posted;
#[path = "../doubles/posted_host.rs"]
mod posted_host;
mod properties;
mod registers;
mod regressions;
mod saving;
mod threads;
