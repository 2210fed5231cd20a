//! Being saved: the guest says that it is ready, and finds out in which domain it goes on.
//!
//! ```text
//! the toolstack asks: an event of a port kept in xenstore, or a word there
//!      │
//!      ▼  every vCPU but one has stopped, devices are quiet
//!  suspend ──┬─► Resumed::InPlace    the same domain, as if nothing had been: it was only looked at, or saving it failed
//!            └─► Resumed::Restored   a new domain with this memory, perhaps on another host: hypercall page, shared page
//!                                    (`map_shared_info`), `restart`, `bring_up` for each vCPU, `rebind_all`
//! ```
//!
//! Xen's toolstack makes the call's result tell the two apart, but only for a guest that has set the domain's callback
//! (`tools/libs/guest`, `xc_domain_resume`): one that has nothing but vectors of its own is always told [`Resumed::Restored`]. Such
//! a guest compares its domain's number ([`Xen::domain`](crate::Xen::domain), found anew) with the one it had.
//!
//! Until the shared page is mapped again it is no memory at all: the time that the hypervisor tells is not to be read before.

use hypervisor_abi::sched::SCHEDOP_SHUTDOWN;
use hypervisor_abi::sched::SHUTDOWN_SUSPEND;
use hypervisor_abi::sched::SchedShutdown;
use zerocopy::IntoBytes;

use crate::abi::EventAbi;
use crate::channels::EventChannels;
use crate::hypercall::Hypercalls;
use crate::hypercall::Object;
use crate::hypercall::Refused;
use crate::restore::Untaken;

/// Where a guest goes on that was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumed {
    /// In its domain, with every port as it was.
    InPlace,
    /// In a new domain, which knows nothing of it; or, without a callback, perhaps in its own.
    Restored,
}

impl<A: EventAbi, H: Hypercalls> EventChannels<'_, A, H> {
    /// Stops the guest, to be saved (`SCHEDOP_shutdown`, `SHUTDOWN_suspend`), and comes back where it goes on. The vCPU that
    /// calls is the only one that runs, with interrupts disabled. Notes which ports have an event that was not taken: should
    /// the guest be restored, [`rebind_all`](Self::rebind_all) tells of them.
    ///
    /// # Errors
    /// [`Refused`]: the guest has not been stopped.
    pub fn suspend(&self) -> Result<Resumed, Refused> {
        for (record, port) in self.bound_ports() {
            record.set_waited(if self.is_pending(port) { Untaken::Event } else { Untaken::Nothing });
        }
        let mut argument = SchedShutdown { reason: SHUTDOWN_SUSPEND };
        // Whoever lets the guest go on in place makes the result 1 (`xc_domain_resume`).
        let result = self.hypercalls().sched_op(SCHEDOP_SHUTDOWN, argument.as_mut_bytes());
        let resumed = if result == 0 { Resumed::Restored } else { Resumed::InPlace };
        if resumed == Resumed::InPlace {
            self.ports().iter().for_each(|record| record.set_waited(Untaken::Nothing));
        }
        Refused::check("SCHEDOP_shutdown", Object::Guest, result)?;
        Ok(resumed)
    }
}
