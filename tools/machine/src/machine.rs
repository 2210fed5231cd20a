//! The machine: what happens when a device raises an interrupt.

/// A time the machine asked to be reminded of; opaque to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer {}

/// The machine.
#[derive(Debug)]
pub struct Machine {}
