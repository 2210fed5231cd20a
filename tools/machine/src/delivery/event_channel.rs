//! The interrupt becomes an event: a pending port, an upcall, and a hypercall for the EOI of what needs one.

use super::Notice;
use crate::events::Channel;
use crate::events::Events;
use crate::events::Sent;
use crate::vcpu::Residency;
use crate::vcpu::Vcpu;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It waited already: the two are one.
    Merged,
    /// It waits, and this has to be done about it.
    Waits(Notice),
}

impl Outcome {
    /// Sends an event to a vCPU.
    pub(crate) fn of_event(events: &mut Events, vcpu: &Vcpu, channel: Channel) -> Self {
        let Some(own) = vcpu.events else { return Self::Waits(Notice::None) };
        match events.send(own, channel) {
            Sent::Absorbed => Self::Merged,
            Sent::Waits => Self::Waits(Notice::None),
            Sent::Kicks => Self::Waits(vcpu.residency.notice_of_event()),
        }
    }
}

impl Residency {
    /// How a vCPU that the hypervisor calls hears of it (`vcpu_kick`).
    pub(crate) const fn notice_of_event(self) -> Notice {
        match self {
            Self::Running => Notice::EventCheck,
            Self::Runnable => Notice::None,
            Self::Blocked => Notice::Wake,
        }
    }
}
