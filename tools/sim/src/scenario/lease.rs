//! Gives every source that needs one its vector.

use carillon_machine::MachineConfig;

use super::Fault;
use super::Place;
use super::Scenario;
use super::fault::What;

/// A source that needs a host vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Which of the scenario's sources it comes from.
    pub(super) place: usize,
    /// Which of the machine's sources it is.
    pub(super) source: usize,
}

/// Assigns the vectors that the scenario leaves open.
pub(super) fn assign(_: &Scenario, machine: &mut MachineConfig, open: &[Open]) -> Result<(), Fault> {
    match open.iter().find(|open| machine.sources[open.source].vector.is_none()) {
        None => Ok(()),
        Some(open) => {
            let label = machine.sources[open.source].label.clone();
            let reason = "expected one in the scenario".to_owned();
            Err(Place::Source(open.place, "vector").fault(What::NoVector { label, reason }))
        }
    }
}
