//! What each step takes: named parameters, each with source, default and unit.

use crate::Span;

/// Declares [`Cost`] and the table behind it from one list, so that the two cannot differ.
macro_rules! costs {
    ($($(#[$doc:meta])* $cost:ident $name:literal $default:literal $source:literal;)*) => {
        /// A step that takes time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cost {
            $($(#[$doc])* $cost,)*
        }

        /// Every cost, in the order of [`Cost`].
        const TABLE: &[CostInfo] = &[
            $(CostInfo { cost: Cost::$cost, name: $name, default: Span($default), unit: "ns", source: $source },)*
        ];

        const COUNT: usize = TABLE.len();
    };
}

costs! {
    /// From guest mode to the first instruction of the host's handler.
    VmExit "vm_exit" 300 "half of a Xen hypercall's round trip, 1228 cycles at 2.4 GHz (Dall et al., ISCA 2016), the exit being the longer half";
    /// From the host back to the guest's next instruction.
    VmEntry "vm_entry" 212 "the rest of the same 1228 cycles";
    /// From a paravirtual guest to the host's handler and back: an interrupt gate and an IRET.
    PvTrap "pv_trap" 150 "estimate: interrupt gate, register save and IRET, about 350 cycles";
    /// From the host's own code to its handler: an interrupt gate without a change of privilege.
    HostEntry "host_entry" 100 "estimate: interrupt gate and register save in ring 0, about 250 cycles";
    /// The host's handler of an interrupt that a domain handles, interrupts off: acknowledge, look up, send the event.
    GuestBoundHandler "guest_bound_handler" 1000 "estimate: on the order of a microsecond for do_IRQ with __do_IRQ_guest";
    /// The softirq that turns a remapped interrupt into a guest vector (`hvm_dirq_assist`).
    DirqAssist "dirq_assist" 600 "estimate: softirq entry, hvm_dirq_assist and vmsi_deliver";
    /// Choosing the next vCPU and switching to it.
    ContextSwitch "context_switch" 2000 "a VM switch, 10534 cycles at 2.4 GHz (Dall et al., ISCA 2016), is two switches with I/O between";
    /// From a guest's upcall entry to its handler: the scan of the pending words or the queue.
    Upcall "upcall" 400 "estimate: IRET frame, two-level scan or FIFO dequeue, Linux generic IRQ entry";
    /// From the end of one event's handler to the next one's in the same upcall.
    NextEvent "next_event" 150 "estimate: two-level scan or FIFO dequeue, Linux generic IRQ entry";
    /// From a guest's IDT gate to its handler.
    IdtDelivery "idt_delivery" 200 "estimate: IDT delivery and Linux generic IRQ entry, about 500 cycles";
    /// The hypercall that tells the host of a guest's EOI (`PHYSDEVOP_eoi`), or has it look for an event that came to a
    /// masked port (`EVTCHNOP_unmask`).
    EoiHypercall "eoi_hypercall" 512 "a Xen hypercall, 1228 cycles at 2.4 GHz (Dall et al., ISCA 2016)";
    /// An exit for the EOI of a vector, where the engine or the host has to see it, to the host's own EOI.
    EoiExit "eoi_exit" 722 "an emulated APIC access on Xen, 1734 cycles at 2.4 GHz (Dall et al., ISCA 2016)";
    /// An exit for a command to another vCPU, to the host's sending of it: an emulated write of ICR.
    IcrExit "icr_exit" 722 "an emulated APIC access on Xen, 1734 cycles at 2.4 GHz (Dall et al., ISCA 2016)";
    /// An exit for a write of the task priority, to the host's emulation of it.
    TprExit "tpr_exit" 722 "an emulated APIC access on Xen, 1734 cycles at 2.4 GHz (Dall et al., ISCA 2016)";
    /// A command to another vCPU that the processor sends by itself: no exit.
    IpiVirtualization "ipi_virtualization" 150 "estimate: microcode, a table look-up and two locked operations";
    /// Posted-interrupt processing by the processor in guest mode: no exit.
    PostedProcessing "posted_processing" 100 "estimate: microcode, one locked exchange and the merge of 256 bits";
    /// The host's handler of a notification that came while the CPU was not in guest mode.
    NotificationHandler "notification_handler" 300 "estimate: interrupt entry, EOI and raising a softirq";
    /// The host's handler of the wake-up vector: the walk over the blocked vCPUs.
    WakeUpHandler "wake_up_handler" 800 "estimate: interrupt entry, a short list under its lock, one vcpu_unblock";
    /// The host's handler of the event-check IPI.
    EventCheckHandler "event_check_handler" 250 "estimate: interrupt entry and EOI; the work is done by the softirq after it";
    /// From sending an IPI or doorbell to its arrival at another CPU.
    IpiFlight "ipi_flight" 500 "estimate: half of a cache-line-free IPI round trip of about 1 µs on one socket";
    /// From an EOI at the local APIC to the next message of a level-triggered pin that is still asserted.
    IoApicResend "ioapic_resend" 500 "estimate: EOI broadcast to the IO-APIC and a message back";
    /// A vCPU that has nothing left to do: HLT exit or block hypercall, to the scheduler.
    Block "block" 700 "estimate: a hypercall (512 ns) and vcpu_block";
    /// An interrupt-window exit.
    WindowExit "window_exit" 512 "as a Xen hypercall: an exit and an entry without further work";
    /// A CPU's wake from idle to its first instruction.
    IdleWake "idle_wake" 1000 "C1 exit latency as Linux's intel_idle table gives it for Xeon servers (1 µs)";
}

/// A cost as a person reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostInfo {
    /// Which.
    pub cost: Cost,
    /// Its name in scenario files.
    pub name: &'static str,
    /// What it is unless set, in [`unit`](Self::unit).
    pub default: Span,
    /// Its unit.
    pub unit: &'static str,
    /// Where the default is from; estimates say so.
    pub source: &'static str,
}

/// The costs of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Costs([Span; COUNT]);

/// A cost could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// There is no cost of that name.
    #[error("there is no such cost; `Costs::table` lists them")]
    Unknown,
    /// It is longer than [`Costs::LONGEST`].
    #[error("{name} = {value} is longer than the {limit} a single step may take", limit = Costs::LONGEST)]
    TooLong {
        /// Which.
        name: &'static str,
        /// What it was to be.
        value: Span,
    },
}

impl Costs {
    /// The longest a single step may take: a second. Longer is a mistake of unit.
    pub const LONGEST: Span = Span(1_000_000_000);

    /// Every cost with name, default, unit and source.
    #[must_use]
    pub const fn table() -> &'static [CostInfo] {
        TABLE
    }

    /// What `cost` takes, ns.
    #[must_use]
    pub const fn get(&self, cost: Cost) -> Span {
        self.0[cost as usize]
    }

    /// Sets the cost called `name`, ns.
    ///
    /// # Errors
    /// [`CostError`] for a name that is not in the table and for a value above [`Self::LONGEST`].
    pub fn set(&mut self, name: &str, value: Span) -> Result<(), CostError> {
        let info = TABLE.iter().find(|info| info.name == name).ok_or(CostError::Unknown)?;
        if value > Self::LONGEST {
            return Err(CostError::TooLong { name: info.name, value });
        }
        self.0[info.cost as usize] = value;
        Ok(())
    }
}

impl Default for Costs {
    /// The published figures where there are any, else estimates of a 2 to 3 GHz server.
    fn default() -> Self {
        Self(core::array::from_fn(|index| TABLE[index].default))
    }
}

#[cfg(test)]
mod tests {
    use super::CostError;
    use super::Costs;
    use crate::Span;

    #[test]
    fn every_cost_can_be_set_by_its_name_and_no_other_changes() {
        for info in Costs::table() {
            let mut costs = Costs::default();
            costs.set(info.name, Span(77_777)).unwrap();
            for other in Costs::table() {
                let expected = if other.cost == info.cost { Span(77_777) } else { other.default };
                assert_eq!(costs.get(other.cost), expected, "{} after setting {}", other.name, info.name);
            }
        }
    }

    #[test]
    fn unknown_names_and_mistakes_of_unit_are_refused() {
        let mut costs = Costs::default();
        assert_eq!(costs.set("vmexit", Span(1)), Err(CostError::Unknown));
        let value = Span(Costs::LONGEST.0 + 1);
        assert_eq!(costs.set("vm_exit", value), Err(CostError::TooLong { name: "vm_exit", value }));
        assert_eq!(costs, Costs::default());
    }
}
