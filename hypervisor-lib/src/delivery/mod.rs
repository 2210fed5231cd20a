//! Interrupts that hardware delivers to vCPUs.

pub mod avic;
mod interception;
pub mod ipiv;

pub use interception::Interception;
