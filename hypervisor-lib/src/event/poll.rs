//! Waiting for one of a few ports without an upcall (`SCHEDOP_poll`, `public/sched.h`).

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::sched::MAX_POLL_PORTS;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use lock_api::RawMutex;

use super::domain::Domain;
use super::error::EventError;
use super::host::Action;
use super::host::Host;
use super::memory::GuestMemory;
use super::vcpu::ANY_PORT;
use super::vcpu::NOT_POLLING;

/// How a poll began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Poll {
    /// A port is pending already, or an upcall is due: go on.
    Ready,
    /// Stop the vCPU until [`Action::WakePoller`], an upcall, or the poll's timeout; then [`Domain::end_poll`].
    Blocked,
}

impl<L: RawMutex> Domain<L> {
    /// Begins to wait for ports.
    ///
    /// # Errors
    /// More than 128 ports; no such vCPU; a port that is not open or belongs to the hypervisor.
    pub fn poll<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId, ports: &[Port]) -> Result<Poll, EventError> {
        if ports.len() > MAX_POLL_PORTS {
            return Err(EventError::TooManyPorts(ports.len()));
        }
        let waits_for = if let [only] = ports { only.0 } else { ANY_PORT };
        self.begin_poll(vcpu, waits_for)?;
        // Whoever makes a port pending now finds the poll; what was pending before is found here.
        change_before_look();
        let ready = self.find_ready(host, vcpu, ports);
        if ready != Ok(Poll::Blocked) {
            self.end_poll(vcpu)?;
        }
        ready
    }

    fn find_ready(&self, memory: &impl GuestMemory, vcpu: VcpuId, ports: &[Port]) -> Result<Poll, EventError> {
        if self.vcpu_info(memory, vcpu).is_some_and(|info| info.is_upcall_due()) {
            return Ok(Poll::Ready);
        }
        for port in ports {
            let slot = self.ports.get(*port).filter(|slot| slot.binding().is_open() && slot.consumer().is_none());
            let slot = slot.ok_or(EventError::NotPollable(self.id, *port))?;
            if self.is_pending(memory, *port) || slot.has_unraised() {
                return Ok(Poll::Ready);
            }
        }
        Ok(Poll::Blocked)
    }

    fn begin_poll(&self, vcpu: VcpuId, waits_for: u32) -> Result<(), EventError> {
        // Port 0 is never usable; the look at the ports refuses it. Until then the poll counts as one for any port.
        let waits_for = if waits_for == NOT_POLLING { ANY_PORT } else { waits_for };
        if self.vcpu(vcpu)?.poll.swap(waits_for, Ordering::SeqCst) == NOT_POLLING {
            self.polling.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// A vCPU no longer waits: it was woken, called, or its time is up.
    ///
    /// # Errors
    /// No such vCPU.
    pub fn end_poll(&self, vcpu: VcpuId) -> Result<(), EventError> {
        if self.vcpu(vcpu)?.poll.swap(NOT_POLLING, Ordering::SeqCst) != NOT_POLLING {
            self.polling.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Wakes the vCPUs that wait for a port that has just become pending.
    #[inline]
    pub(crate) fn wake_pollers<H: Host<Lock = L>>(&self, host: &H, port: Port) {
        change_before_look();
        if self.polling.load(Ordering::SeqCst) != 0 {
            self.wake_each_poller(host, port);
        }
    }

    #[cold]
    fn wake_each_poller<H: Host<Lock = L>>(&self, host: &H, port: Port) {
        for (vcpu, number) in self.vcpus.iter().zip(0..) {
            let waits_for = vcpu.poll.load(Ordering::SeqCst);
            let is_waiting = waits_for == port.0 || waits_for == ANY_PORT;
            // Only one sender ends the poll.
            let ended = || vcpu.poll.compare_exchange(waits_for, NOT_POLLING, Ordering::SeqCst, Ordering::SeqCst);
            if is_waiting && ended().is_ok() {
                self.polling.fetch_sub(1, Ordering::SeqCst);
                host.act(Action::WakePoller { domain: self.id, vcpu: VcpuId(number) });
            }
        }
    }
}
