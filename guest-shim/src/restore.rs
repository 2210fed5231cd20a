//! After a restore: the guest's memory is as it was, the hypervisor knows nothing of it.
//!
//! Save and restore by Xen's toolstack closes all ports but those the toolstack opens itself. So the guest, with one vCPU
//! running, does what it did at boot (the shared page, [`EventChannels::restart`], then [`bring_up`](EventChannels::bring_up)
//! for each vCPU, upcall vectors included, R-32), and then binds again what it can by itself: IPIs and virtual IRQs, under new
//! numbers. Physical IRQs must be mapped and devices connected anew; their owners are told.
//!
//! Events that were waiting are gone with their ports, and so are timers that were set. [`EventChannels::suspend`] notes the
//! events, and each port's owner is told of its own. An event that was taken and has not got its end needs none any more.

use hypervisor_abi::Port;

use crate::abi::EventAbi;
use crate::channels::ChannelError;
use crate::channels::EventChannels;
use crate::hypercall::Hypercalls;
use crate::port::Bound;
use crate::port::PortRecord;
use crate::port::Source;

/// What became of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restored {
    /// It is bound again, masked by its owner if it was before.
    Rebound {
        /// Its number before.
        old: Port,
        /// Its number now.
        new: Port,
        /// Whether an event of it was waiting when the guest was [suspended](EventChannels::suspend): if so, its owner does
        /// what it does when one comes.
        event: Untaken,
    },
    /// Its owner has to set it up anew.
    Lost {
        /// Its number before.
        old: Port,
        /// What it was.
        bound: Bound,
        /// Whether an event of it was waiting when the guest was suspended.
        event: Untaken,
    },
}

/// Whether an event of a port was waiting when the guest was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Untaken {
    /// One was, and is gone with the port.
    Event,
    /// None was.
    Nothing,
}

/// A port taken out of the table, to be bound again.
#[derive(Clone, Copy, Debug)]
struct Taken {
    old: Port,
    bound: Bound,
    masked: bool,
    event: Untaken,
}

impl<'a, A: EventAbi, H: Hypercalls> EventChannels<'a, A, H> {
    /// Forgets what the hypervisor was told, not what was bound. No vCPU takes events now, and each
    /// [`VcpuEvents`](crate::VcpuEvents) is dropped; `bring_up` makes new ones.
    pub fn restart(&self) {
        self.abi().restart();
        for record in self.ports() {
            record.unlist();
            record.clear_rebound();
        }
    }

    /// Binds again what was bound before the restore, and tells of each port what became of it.
    ///
    /// # Errors
    /// The hypervisor refused to bind a port, or gave one that is out of range; that port is told of as lost, and the call
    /// can be repeated for the others.
    pub fn rebind_all(&self, mut tell: impl FnMut(Restored)) -> Result<(), ChannelError> {
        for (record, number) in self.ports().iter().zip(0..) {
            // A new number may be another port's old one, whose note is then taken out before it is overwritten: at most
            // once for each port.
            let mut taken = take(record, Port(number));
            while let Some(port) = taken {
                taken = self.rebind(port, &mut tell)?;
            }
        }
        self.ports().iter().for_each(PortRecord::clear_rebound);
        Ok(())
    }

    /// Binds one port again; the one whose number it has got, if that is still to be bound.
    fn rebind(&self, port: Taken, tell: &mut impl FnMut(Restored)) -> Result<Option<Taken>, ChannelError> {
        let Taken { old, bound, masked, event } = port;
        let lost = Restored::Lost { old, bound, event };
        let given = match bound.source {
            Source::Ipi => self.call_bind_ipi(bound.vcpu),
            Source::Virq(virq) => self.call_bind_virq(virq, bound.vcpu),
            Source::Interdomain | Source::Pirq(_) => {
                tell(lost);
                return Ok(None);
            }
        };
        let new = given.inspect_err(|_| tell(lost))?;
        let displaced = self.ports().get(new.index()).and_then(|record| take(record, new));
        let rebound = self.note_at(new, bound).and_then(|()| {
            if let Some(record) = self.ports().get(new.index()) {
                record.set_rebound();
            }
            if masked { Ok(()) } else { self.unmask(new) }
        });
        rebound.inspect_err(|_| tell(lost))?;
        tell(Restored::Rebound { old, new, event });
        Ok(displaced)
    }
}

/// Takes a note out of the table, unless it was made after the restore.
fn take(record: &PortRecord, old: Port) -> Option<Taken> {
    let bound = record.bound().filter(|_| !record.is_rebound())?;
    let (masked, event) = (record.is_masked_by_owner(), record.waited());
    record.unbind();
    Some(Taken { old, bound, masked, event })
}
