//! The interrupt becomes an event: a pending port, an upcall, and a hypercall for the EOI of what needs one.

use super::Arrival;
use super::Delivery;
use super::Notice;
use super::Outcome;
use crate::events::Sent;
use crate::vcpu::Residency;

/// Delivery over an event channel.
#[derive(Debug)]
pub(super) struct EventChannel;

impl Delivery for EventChannel {
    fn post(Arrival { entry, events, vcpu, .. }: Arrival<'_>) -> Outcome {
        let Some(own) = vcpu.events else { return Outcome::Waits(Notice::None) };
        match events.send(own, entry.channel) {
            Sent::Absorbed => Outcome::Merged,
            Sent::Waits => Outcome::Waits(Notice::None),
            Sent::Kicks => Outcome::Waits(vcpu.residency.notice_of_event()),
        }
    }
}

impl Residency {
    /// How a vCPU that the hypervisor calls for its first event hears of it (`vcpu_kick`).
    pub(crate) const fn notice_of_event(self) -> Notice {
        match self {
            Self::Running => Notice::EventCheck,
            Self::Runnable => Notice::None,
            Self::Blocked => Notice::Wake,
        }
    }
}
