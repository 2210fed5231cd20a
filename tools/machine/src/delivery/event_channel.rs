//! The interrupt becomes an event: a pending bit, an upcall, and a hypercall for the EOI of what needs one.

use super::Arrival;
use super::Delivery;
use super::Notice;
use super::Outcome;
use crate::Cost;
use crate::vcpu::Residency;

/// Delivery over an event channel.
#[derive(Debug)]
pub(super) struct EventChannel;

impl Delivery for EventChannel {
    fn post(&self, arrival: Arrival<'_>) -> Outcome {
        let Arrival { source, sources, vcpu, .. } = arrival;
        if !vcpu.events.push(sources, source) {
            return Outcome::Merged;
        }
        Outcome::Waits(match vcpu.residency {
            Residency::Running => Notice::EventCheck,
            Residency::Runnable => Notice::None,
            Residency::Blocked => Notice::Wake,
        })
    }

    fn entry(&self) -> Cost {
        Cost::Upcall
    }

    fn eoi(&self) -> Cost {
        Cost::EoiHypercall
    }
}
