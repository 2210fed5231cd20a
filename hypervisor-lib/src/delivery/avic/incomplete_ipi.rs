//! What to do when the processor could not finish a guest's command (exit 401h).
//!
//! | failure | what the processor has done | what we must do | and must not |
//! |---|---|---|---|
//! | 0 invalid type | nothing | carry the command out | |
//! | 1 target not running | IRR of all targets, doorbells | tell those that do not run | set IRR again: a target may have taken and ended the interrupt by now |
//! | 2 invalid target | nothing, to valid targets neither | carry the command out | |
//! | 3 invalid backing page | nothing if directed; unknown if broadcast | carry a directed one out; our tables are broken | deliver a broadcast twice |
//! | 4 invalid vector | nothing | note the error in ESR | deliver |
//! | 5 and above | not ours | report | guess |
//!
//! In every case the instruction is over: the instruction pointer is past it.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::BROADCAST_X2APIC;
use hypervisor_abi::apic::BROADCAST_XAPIC;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::IpiFailure;

use super::acceleration::Mode;
use super::host::Host;
use super::post::tell;
use super::table::EntryCell;
use super::table::PhysicalTable;
use super::table::Residence;
use super::table::Ringer;
use super::target::LogicalIds;
use super::target::targets;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: so many vCPUs have been told that something waits for them.
    Told(usize),
    /// Send the command by software, as if it had not been written to AVIC at all.
    Send(Icr),
    /// Note in the sender's error status register that it sent an illegal vector, and raise its error interrupt.
    IllegalVector(u8),
}

/// An exit that an intact hypervisor and processor do not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry of a table names no page: what the command has done is in `rest`.
    #[error("entry {index} of a table of {sender} holds no address of a page")]
    BackingPage {
        /// The vCPU that sent.
        sender: ApicId,
        /// The entry, of the logical or of the physical table.
        index: u16,
        /// What to do about the command all the same.
        rest: Rest,
    },
    /// The exit tells a failure that this mode does not have.
    #[error("{sender} could not send for {failure:?}, which AVIC does not know")]
    Failure {
        /// The vCPU that sent.
        sender: ApicId,
        /// The failure.
        failure: IpiFailure,
    },
}

/// Does what an incomplete command needs, as far as AVIC's own structures go, and says what is left.
///
/// # Errors
/// Our tables, or the processor, are not as they should be.
pub fn finish_ipi<C: EntryCell>(
    physical: PhysicalTable<'_, C>,
    logical: LogicalIds<'_>,
    sender: ApicId,
    exit: IncompleteIpi,
    host: &impl Host,
) -> Result<Rest, Broken> {
    let needs_us = |id: &ApicId| match physical.ringer() {
        // The sender itself is not away: it looks at its own IRR when it is entered next.
        _ if *id == sender => false,
        // A target that runs by now has looked at its IRR since the processor found that it did not, or has heard its doorbell.
        Ringer::Processor => physical.residence(*id) == Ok(Residence::Away),
        Ringer::Hypervisor => true,
    };
    let tell_all = || {
        let targets = targets(physical, logical, sender, exit.icr).filter(needs_us);
        Rest::Told(targets.filter(|id| tell(physical, *id, host).is_ok()).count())
    };
    match exit.failure {
        IpiFailure::TargetNotRunning => Ok(tell_all()),
        IpiFailure::InvalidType | IpiFailure::InvalidTarget => Ok(Rest::Send(exit.icr)),
        IpiFailure::InvalidVector => Ok(Rest::IllegalVector(exit.icr.vector())),
        IpiFailure::InvalidBackingPage => {
            // To be told once too often is harmless, to be interrupted twice is not.
            let rest = if is_broadcast(physical.mode(), exit.icr) { tell_all() } else { Rest::Send(exit.icr) };
            Err(Broken::BackingPage { sender, index: exit.index, rest })
        }
        failure @ (IpiFailure::SecureAvic | IpiFailure::Reserved(_)) => Err(Broken::Failure { sender, failure }),
    }
}

fn is_broadcast(mode: Mode, icr: Icr) -> bool {
    match (icr.shorthand(), mode) {
        (Shorthand::All | Shorthand::Others, _) => true,
        (Shorthand::Myself, _) => false,
        (Shorthand::None, Mode::XAvic) => icr.destination() >> 24 == BROADCAST_XAPIC,
        (Shorthand::None, Mode::X2Avic) => icr.destination() == BROADCAST_X2APIC,
    }
}
