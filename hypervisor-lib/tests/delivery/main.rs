//! Interrupt delivery as a guest and its hypervisor see it.
#![cfg(not(loom))]

mod machine;
mod model;

mod commands;
mod local_sources;
mod modes;
mod posted;

mod properties;
mod registers;
mod regressions;
mod saving;
mod threads;
