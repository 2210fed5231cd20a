//! Interrupts that hardware delivers to vCPUs.

pub mod avic;
