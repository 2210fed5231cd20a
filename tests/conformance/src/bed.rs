//! What the suite runs on.

use heapless::Vec;
use hypervisor_abi::event::EventOp;

/// The most ports a vCPU takes at a time in this suite.
const MOST_TAKEN: usize = 16;

/// Ports in the order they were taken.
pub type Ports = Vec<u32, MOST_TAKEN>;

/// The domains of a bed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The privileged domain.
    Dom0,
    /// A guest with two vCPUs, 1024 ports (port 0 included) and no privileges.
    One,
    /// Another guest like it.
    Two,
}

/// The ABI the guests use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// Bitmaps of 64-bit words.
    TwoLevel64,
    /// Bitmaps of 32-bit words.
    TwoLevel32,
    /// Queues. Every vCPU of the guests has its control block, and the ports have their event words.
    Fifo,
}

/// What becomes of a guest's wish for a global virtual IRQ that another domain handles. Releases of Xen differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignVirqs {
    /// It is refused (seen in the sources of 4.23).
    Refused,
    /// It gets a port, to which nothing ever comes (seen on 4.17).
    Silent,
}

/// A hypervisor with a few domains, and a way into each of them.
pub trait Bed {
    /// Which ABI the guests use.
    fn abi(&self) -> Abi;

    /// A domain's number.
    fn number(&self, who: Who) -> u16;

    /// What becomes of a guest's wish for a global virtual IRQ.
    fn foreign_virqs(&self) -> ForeignVirqs;

    /// A hypercall of a domain's vCPU 0, as the guest issues it: what it leaves in RAX.
    fn call(&self, caller: Who, op: EventOp, argument: &mut [u8]) -> i64;

    /// The guest masks a port.
    fn mask(&self, who: Who, port: u32);

    /// The guest takes its upcall on a vCPU; the ports it handled, in order.
    fn consume(&self, who: Who, vcpu: u32) -> Ports;

    /// The frames of two unused pages of [`Who::One`]: for a control block, and for event words.
    fn spare_frames(&self) -> [u64; 2];
}
