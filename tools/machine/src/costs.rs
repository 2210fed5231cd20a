//! What each step takes: named parameters, each with source, default and unit.

/// The costs of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Costs {}
