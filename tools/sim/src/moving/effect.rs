//! What hardware and host do about an interrupt, one after the other.

use std::fmt;

use vector_allocator::CpuId;

/// Who interrupts the vCPU that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {
    /// The device, by this interrupt of the host's.
    Device(u32),
    /// The guest's other vCPU, by an IPI.
    Vcpu,
}

/// Why nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Silence {
    /// A notification is outstanding.
    Outstanding,
    /// Notifications are suppressed.
    Suppressed,
    /// The remapping entry says that the vCPU does not run, and does not ask for the log.
    NotRunning,
    /// The vCPU's upcall was pending already.
    UpcallPending,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A bit is set in PIR.
    Posted(u8),
    /// A notification is sent: its vector, and where to.
    Notified(u8, CpuId),
    /// A bit is set in the backing page's IRR.
    Requested(u8),
    /// A doorbell rings.
    Rang(CpuId),
    /// The sender's command exits, since its target's *IsRunning* is clear.
    SenderExits,
    /// The hypervisor has been asked to let the vCPU run.
    Woken,
    /// An event is pending, and the vCPU's upcall.
    Pending(u32),
    /// The vCPU is kicked where the hypervisor's note says.
    Kicked(CpuId),
    /// Nobody is told.
    Silent(Silence),
    /// A host vector is sent to a CPU.
    Interrupted(u8, CpuId),
    /// A CPU takes a host vector: the device's interrupt of this number.
    Handled(u8, CpuId, u32),
    /// A CPU takes a host vector that asks nothing of the host.
    Noticed(u8, CpuId),
    /// A CPU takes a host vector that is no source's (any more).
    Stray(u8, CpuId),
    /// What was posted is taken over by the entry, as the look before it has found something.
    TakenOver,
    /// What was posted is taken over by the processor, on a notification.
    Processed(CpuId),
    /// The processor hears its doorbell and looks at the IRR.
    Heard(CpuId),
    /// The entry flushes the guest's translations.
    Flushed,
    /// The vCPU takes an interrupt.
    Delivered(Sender, CpuId),
    /// The request does not get through.
    Blocked(String),
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(irq) => write!(f, "IRQ {irq}"),
            Self::Vcpu => f.write_str("vCPU 1's IPI"),
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outstanding => "ON is set",
            Self::Suppressed => "SN is set",
            Self::NotRunning => "is_run is clear, and so is log",
            Self::UpcallPending => "the upcall is pending",
        })
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Posted(vector) => write!(f, "vector {vector:#04x} set in PIR"),
            Self::Notified(vector, cpu) => write!(f, "notification {vector:#04x} to CPU {cpu}"),
            Self::Requested(vector) => write!(f, "vector {vector:#04x} set in the IRR"),
            Self::Rang(cpu) => write!(f, "CPU {cpu}'s doorbell rings"),
            Self::SenderExits => f.write_str("the sender exits: IsRunning is clear"),
            Self::Woken => f.write_str("the hypervisor lets vCPU 0 run"),
            Self::Pending(port) => write!(f, "port {port} pending"),
            Self::Kicked(cpu) => write!(f, "kick to CPU {cpu}"),
            Self::Silent(why) => write!(f, "nobody is told: {why}"),
            Self::Interrupted(vector, cpu) => write!(f, "host vector {vector:#04x} to CPU {cpu}"),
            Self::Handled(vector, cpu, irq) => write!(f, "CPU {cpu} takes host vector {vector:#04x}: IRQ {irq}"),
            Self::Noticed(vector, cpu) => write!(f, "CPU {cpu} takes {vector:#04x} in the host: nothing to do"),
            Self::Stray(vector, cpu) => write!(f, "CPU {cpu} takes host vector {vector:#04x}, which is nobody's"),
            Self::TakenOver => f.write_str("the entry takes PIR over"),
            Self::Processed(cpu) => write!(f, "CPU {cpu} takes PIR over without an exit"),
            Self::Heard(cpu) => write!(f, "CPU {cpu} hears its doorbell"),
            Self::Flushed => f.write_str("the entry flushes the guest's translations"),
            Self::Delivered(sender, cpu) => write!(f, "vCPU 0 takes {sender} on CPU {cpu}"),
            Self::Blocked(why) => write!(f, "it does not get through: {why}"),
        }
    }
}
