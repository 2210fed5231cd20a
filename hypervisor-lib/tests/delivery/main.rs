//! Interrupt delivery as a guest and its hypervisor see it.
#![cfg(not(loom))]

mod machine;
mod model;

mod commands;
mod modes;

mod properties;
mod registers;
