//! What the two event-channel ABIs have in common for a guest.

use core::fmt::Debug;

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::ControlBlock;

use crate::hypercall::Hypercalls;
use crate::hypercall::Refused;
use crate::layout::SharedInfo;
use crate::set_up::Place;

/// The vCPU's block in the layout of an ABI's shared page.
pub type VcpuInfoOf<A> = <<A as EventAbi>::Shared as SharedInfo>::VcpuInfo;

/// An event-channel ABI, seen from the guest: [`TwoLevel`](crate::TwoLevel) or [`Fifo`](crate::Fifo).
pub trait EventAbi {
    /// The layout of the shared page and of vCPU blocks.
    type Shared: SharedInfo;
    /// What a vCPU needs beside its block.
    type Pages: Copy + Debug;
    /// How far a vCPU has got in taking its events.
    type Queues: Debug + Send;

    /// Masks every port, and forgets everything the hypervisor was told: before the first set-up, and after a restore.
    fn restart(&self);

    /// Makes the vCPU known to the hypervisor, as far as this ABI needs it.
    ///
    /// # Errors
    /// [`Refused`] by the hypervisor; [`Errno::NotImplemented`](hypervisor_abi::Errno::NotImplemented) if it does not know
    /// this ABI.
    fn attach(&self, hypercalls: &impl Hypercalls, vcpu: VcpuId, pages: Self::Pages) -> Result<Self::Queues, Refused>;

    /// Whether a port has its bits in shared memory: the ABI can name it, and the guest's pages have room for it.
    fn has(&self, port: Port) -> bool;

    /// Keeps a port's events from being delivered. What happens meanwhile stays pending.
    fn mask(&self, port: Port);

    /// Lets a port's events be delivered again.
    #[must_use]
    fn unmask(&self, port: Port) -> Unmasked;

    /// Whether a port has an event that was not taken.
    fn is_pending(&self, port: Port) -> bool;

    /// Whether a port is masked.
    fn is_masked(&self, port: Port) -> bool;

    /// Begins a round: takes notice of what became ready. The vCPU has cleared `upcall_pending` before.
    fn begin(&self, info: &VcpuInfoOf<Self>, queues: &mut Self::Queues);

    /// Takes the next port, if `admit` lets it. `None`: nothing is ready.
    fn next(&self, queues: &mut Self::Queues, admit: impl FnMut(Port) -> Admission) -> Option<Visit>;
}

/// What is left to do after unmasking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmasked {
    /// Nothing.
    Done,
    /// An event is waiting, or the hypervisor holds the word: `EVTCHNOP_unmask` must clear the mask, which is still set.
    AskHypervisor,
}

/// What is to become of a port's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Deliver it; the next one may come while its handler runs.
    Early,
    /// Deliver it and keep the port masked until its EOI.
    Late {
        /// Who brings the mask into line with the port's record.
        duty: Duty,
    },
    /// Do not deliver it here; it stays pending.
    Aside,
}

/// Who brings a port's mask bit into line with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Whoever got this value.
    Ours,
    /// Somebody else is at it, or nothing is to be done.
    None,
}

/// A port that was taken out of a queue or found in a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Which.
    pub port: Port,
    /// What was to become of its event.
    pub admission: Admission,
    /// Whether there was an event that is not masked.
    pub event: Found,
}

/// Whether a visited port had a deliverable event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It had one: taken if the port was admitted, left pending and masked if it was put aside.
    Event,
    /// It had none, or is masked.
    Nothing,
}

/// A FIFO control block and where the hypervisor finds it.
#[derive(Clone, Copy, Debug)]
pub struct ControlPage<'a> {
    /// The block.
    pub block: &'a ControlBlock,
    /// Where it is, divisible by 8 within its frame.
    pub place: Place,
}
