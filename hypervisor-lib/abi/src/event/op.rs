//! The numbers of the event-channel operations and of a channel's states.

/// An operation of `HYPERVISOR_event_channel_op` (`EVTCHNOP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum EventOp {
    /// Connects to a port another domain offers.
    BindInterdomain = 0,
    /// Binds a virtual IRQ.
    BindVirq = 1,
    /// Binds a physical IRQ.
    BindPirq = 2,
    /// Closes a port.
    Close = 3,
    /// Sends an event to the other end.
    Send = 4,
    /// Tells a port's state.
    Status = 5,
    /// Offers a port to another domain.
    AllocUnbound = 6,
    /// Binds an interrupt from one vCPU to another of the same domain.
    BindIpi = 7,
    /// Chooses the vCPU a port notifies.
    BindVcpu = 8,
    /// Clears a port's mask and delivers what is pending.
    Unmask = 9,
    /// Closes all of a domain's ports.
    Reset = 10,
    /// Gives a vCPU its FIFO control block.
    InitControl = 11,
    /// Adds a page of event words.
    ExpandArray = 12,
    /// Sets a port's FIFO priority.
    SetPriority = 13,
    /// Carries on a reset that was broken off; the hypervisor issues it, never a guest.
    ResetContinuation = 14,
}

impl EventOp {
    /// The operation of a number; `None` if there is none.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::BindInterdomain,
            1 => Self::BindVirq,
            2 => Self::BindPirq,
            3 => Self::Close,
            4 => Self::Send,
            5 => Self::Status,
            6 => Self::AllocUnbound,
            7 => Self::BindIpi,
            8 => Self::BindVcpu,
            9 => Self::Unmask,
            10 => Self::Reset,
            11 => Self::InitControl,
            12 => Self::ExpandArray,
            13 => Self::SetPriority,
            14 => Self::ResetContinuation,
            _ => return None,
        })
    }

    /// The number in the hypercall's register.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// What `EVTCHNOP_status` says a port is (`EVTCHNSTAT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ChannelState {
    /// Not in use.
    Closed = 0,
    /// Waits for the other end.
    Unbound = 1,
    /// Connected to a port of a domain.
    Interdomain = 2,
    /// Carries a physical IRQ.
    Pirq = 3,
    /// Carries a virtual IRQ.
    Virq = 4,
    /// Carries interrupts between vCPUs.
    Ipi = 5,
}

#[cfg(test)]
mod tests {
    use super::EventOp;

    #[test]
    fn numbers_and_operations_convert_into_each_other() {
        for number in 0..=14 {
            assert_eq!(EventOp::from_number(number).map(EventOp::number), Some(number));
        }
        assert_eq!(EventOp::from_number(15), None);
    }
}
