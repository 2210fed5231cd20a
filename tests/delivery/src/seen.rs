//! What the guest and its devices see of a vCPU's interrupts; how many exits it took is not among it.

use hypervisor_abi::apic::ApicMode;
use hypervisor_lib::delivery::Deadline;
use hypervisor_lib::delivery::engine::Event;

/// Something seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The guest took an interrupt or a non-maskable interrupt.
    Took(Event),
    /// It read this from a register, or would have faulted.
    Read(Option<u64>),
    /// A write was done.
    Wrote,
    /// A write faulted.
    WriteFaulted,
    /// The I/O APICs were told of the end of a level-triggered vector.
    EndOfInterrupt(u8),
    /// A route heard of the end of an edge-triggered vector.
    VectorEnded(u8),
    /// Its timer was set.
    Timer(Option<Deadline>),
    /// It got INIT.
    Init,
    /// It got a start-up.
    StartUp(u8),
    /// It got a system-management interrupt.
    Smi,
    /// Its local APIC became software-enabled.
    SoftwareEnabled,
    /// Its local APIC changed its place or its mode.
    Mode(Option<ApicMode>),
    /// It would wake from HLT, if its interrupts were enabled.
    Wakes,
    /// It would not.
    Sleeps,
}
