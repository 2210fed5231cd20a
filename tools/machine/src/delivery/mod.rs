//! How an interrupt gets from the host to its vCPU, and how the vCPU hears of it.
//!
//! | path | waits in | a running vCPU is told by | a blocked one by |
//! |---|---|---|---|
//! | event channel | the guest's pages | event-check IPI, an exit | the scheduler |
//! | remapped, or from another vCPU | inbox, PIR or IRR, as its engine has it | what the engine asks for | the scheduler |
//! | posted | PIR or IRR | notification or doorbell, no exit | the wake-up vector, or the IOMMU's log |

mod event_channel;
mod vector;

pub(crate) use self::event_channel::Outcome;

/// How a vCPU is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Not at all: it looks before it runs on.
    None,
    /// The scheduler wakes it.
    Wake,
    /// An event-check IPI makes it exit.
    EventCheck,
}

/// Who makes an interrupt wait for a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    /// A device, or the IOMMU for it: it signals at once.
    Device,
    /// The host's code on this CPU.
    Host(vector_allocator::CpuId),
    /// This CPU itself, for the guest it runs.
    Processor(vector_allocator::CpuId),
}
