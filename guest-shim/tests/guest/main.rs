//! The guest's side against the real hypervisor's side, both ABIs.
#![cfg(not(loom))]

mod calls;
mod detection;
mod events;
mod interrupts;
mod machine;
mod naive;
mod pirqs;
mod regressions;
mod retiring;
mod suspending;
mod threads;
mod throttling;
