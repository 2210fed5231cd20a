//! How an interrupt gets from the host to its vCPU: one trait, three paths.
//!
//! | path | waits in | a running vCPU is told by | a blocked one by |
//! |---|---|---|---|
//! | event channel | the guest's pages | event-check IPI, an exit | the scheduler |
//! | remapped | PIR or VIRR | notification or doorbell, no exit | the scheduler |
//! | posted | PIR or VIRR | notification or doorbell, no exit | the wake-up vector |

mod event_channel;
mod posted;
mod remapped;

use self::event_channel::EventChannel;
use self::posted::Posted;
use self::remapped::Remapped;
use crate::Vendor;
use crate::events::Events;
use crate::source::Route;
use crate::source::Source;
use crate::vcpu::Vcpu;

/// An interrupt on its way to a vCPU.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    /// Its source.
    pub(crate) entry: &'a Source,
    pub(crate) events: &'a mut Events,
    pub(crate) vcpu: &'a mut Vcpu,
    pub(crate) vendor: Vendor,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It waited already: the two are one.
    Merged,
    /// It waits, and this has to be done about it.
    Waits(Notice),
}

/// How a vCPU is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Not at all: it looks before it runs on.
    None,
    /// The scheduler wakes it.
    Wake,
    /// An event-check IPI makes it exit.
    EventCheck,
    /// A notification makes its processor look without an exit.
    Notification,
    /// AVIC's doorbell does the same, without a local-APIC interrupt.
    Doorbell,
    /// The wake-up vector tells the CPU it ran on last.
    WakeUpVector,
}

/// One way to deliver.
trait Delivery {
    /// Makes the interrupt wait at its vCPU, and says how the vCPU hears of it.
    fn post(arrival: Arrival<'_>) -> Outcome;
}

impl Route {
    /// Makes an interrupt wait at the vCPU where this route leads. What the hypervisor handles waits nowhere.
    pub(crate) fn post(self, arrival: Arrival<'_>) -> Outcome {
        match self {
            Self::Uninterruptible | Self::Interruptible => Outcome::Waits(Notice::None),
            Self::EventChannel => EventChannel::post(arrival),
            Self::Remapped => Remapped::post(arrival),
            Self::Posted => Posted::post(arrival),
        }
    }
}
