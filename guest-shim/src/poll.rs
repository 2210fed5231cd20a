//! Waiting for events without an upcall (`SCHEDOP_poll`, `public/sched.h`): at boot, before interrupts are set up, or where
//! a lock's holder is to wake its waiter.

use hypervisor_abi::Port;
use hypervisor_abi::sched::MAX_POLL_PORTS;
use hypervisor_abi::sched::SCHEDOP_POLL;
use hypervisor_abi::sched::SchedPoll;

use crate::hypercall::Calls;
use crate::hypercall::Hypercalls;
use crate::hypercall::Object;
use crate::hypercall::Refused;
use crate::time::Time;

/// Stops the vCPU until one of a few ports is pending, an upcall is due, or the hypervisor's system time
/// (`vcpu_time_info`, `public/xen.h`) reaches `until`. The ports are
/// to be masked: what wakes the vCPU by an upcall is not waited for. They may be pending already; nobody is woken twice for
/// one event, so the caller takes what is pending and polls again.
///
/// # Errors
/// [`Refused`]: more than [`MAX_POLL_PORTS`] ports, or one that is not open.
pub fn poll(hypercalls: &impl Hypercalls, ports: &[Port], until: Option<Time>) -> Result<(), Refused> {
    // One more than the most is refused as any greater number is.
    let nr_ports = u32::try_from(ports.len().min(MAX_POLL_PORTS + 1)).unwrap_or(u32::MAX);
    // The hypervisor reads the ports where they are, for the length of the call.
    let address = ports.as_ptr().expose_provenance() as u64;
    let timeout = until.map_or(0, |time| time.0);
    let mut argument = SchedPoll { ports: address, nr_ports, pad: 0, timeout };
    let object = if let [only] = ports { Object::Port(only.0) } else { Object::Guest };
    hypercalls.sched(("SCHEDOP_poll", SCHEDOP_POLL), object, &mut argument)
}
