//! What the machine asks to be reminded of.

/// A time the machine asked to be reminded of; opaque to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer(pub(crate) Alarm);

/// What happens at a time. Where a generation is given, the alarm is stale when it has moved on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Alarm {
    /// What a CPU does now is over.
    Step { cpu: u32, generation: u32 },
    /// An IPI arrives.
    Ipi { cpu: u32, ipi: Ipi },
    /// A domain has kept an interrupt for as long as it may.
    ForcedEoi { irq: u32, generation: u32 },
    /// The EOI of a domain that runs elsewhere reaches the CPU where the interrupt is in service.
    RemoteEoi { irq: u32, generation: u32 },
    /// A level-triggered pin sends again after an EOI.
    Resend { irq: u32 },
    /// The storm guard lets the interrupts back in that it disabled.
    Unthrottle,
    /// A vCPU's time, or the time it may not be pre-empted, is over.
    Slice { cpu: u32, generation: u32 },
    /// A periodic load's sleep is over.
    LoadWake { vcpu: u32 },
    /// The time is over for which a guest has put off the end of a source's event, and its timer goes off.
    DelayedEoi { source: u32 },
}

/// What one CPU sends another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ipi {
    /// Look at your softirqs (Xen: 0xfc).
    EventCheck,
    /// Posted interrupts wait for the vCPU you run.
    Notification,
    /// Posted interrupts wait for a vCPU that is blocked here.
    WakeUp,
    /// AVIC: look at the backing page. No local-APIC interrupt.
    Doorbell,
}

const _: () = assert!(size_of::<Timer>() <= 16);
