//! What a scenario says about event channels: ABIs, priorities, late EOIs, and what of it cannot be.

use carillon_machine::EoiMode;

use super::Domain;
use super::EventAbi;
use super::Fault;
use super::Place;
use super::Scenario;
use super::Source;
use super::SourceKind;
use super::fault::What;
use super::setup::within;

const NO_EVENT: &str = "the hypervisor's own source is no event and has no priority: expected a domain";
const NO_PRIORITIES: &str = "2-level event channels have no priorities: expected event_abi = \"fifo\" for its domain";

impl Scenario {
    /// A domain's ABI, and when the events end that software sends it.
    pub(super) fn event_channels(
        &self,
        index: usize,
        domain: &Domain,
    ) -> Result<(carillon_machine::EventAbi, EoiMode), Fault> {
        let abi = match domain.event_abi {
            EventAbi::Fifo => carillon_machine::EventAbi::Fifo,
            EventAbi::TwoLevel => carillon_machine::EventAbi::TwoLevel,
        };
        let is_its_event = |source: &Source| source.domain == Some(domain.id) && source.kind == SourceKind::Software;
        match domain.late_eoi {
            false => Ok((abi, EoiMode::Early)),
            true if self.sources.iter().any(is_its_event) => Ok((abi, EoiMode::Late)),
            true => Err(Place::Domain(index, "late_eoi").fault(What::NoSoftwareEvent { name: domain.name.clone() })),
        }
    }

    /// A priority is in range, and its source's domain has priorities, whichever path the source takes now.
    pub(super) fn check_priority(&self, index: usize, source: &Source) -> Result<(), Fault> {
        let Some(priority) = source.priority else { return Ok(()) };
        let place = || Place::Source(index, "priority");
        within(place(), "priority", priority.into(), 0.0..=15.0, "0 to 15")?;
        let Some(domain) = source.domain else {
            return Err(place().fault(What::Path { label: source.label.clone(), reason: NO_EVENT }));
        };
        let is_two_level = |written: &Domain| written.id == domain && written.event_abi == EventAbi::TwoLevel;
        if self.domains.iter().any(is_two_level) {
            return Err(place().fault(What::Path { label: source.label.clone(), reason: NO_PRIORITIES }));
        }
        Ok(())
    }
}
