//! The event channels of any domain, as the control domain sees them.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::Status;
use zerocopy::IntoBytes as _;

use crate::calls::Call;
use crate::calls::HypercallNumber;
use crate::calls::Hypercalls;
use crate::error::XenError;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::failed;

/// "There is no such port" (`EINVAL`), or no such domain (`ESRCH`).
const NO_PORT: [i32; 2] = [22, 3];
/// More ports than a domain can have (FIFO).
const PORTS: u32 = 1 << 17;

impl<H: Hypercalls> Hypervisor<H> {
    /// What each of a domain's ports is, ascending, those that are closed among them. A domain that is gone has none.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn ports(&self, domain: DomainId) -> Result<Vec<Status>, XenError> {
        let mut ports = Vec::new();
        for port in 1..PORTS {
            match self.port(domain, Port(port))? {
                Some(status) => ports.push(status),
                None => break,
            }
        }
        Ok(ports)
    }

    /// What one port is (`EVTCHNOP_status`); `None` beyond the last one.
    fn port(&self, domain: DomainId, port: Port) -> Result<Option<Status>, XenError> {
        let mut status = Status { dom: domain.0, port: port.0, ..Status::default() };
        let done = self.calls().call(Call {
            number: HypercallNumber::EventChannelOp,
            command: Some(EventOp::Status.number().into()),
            argument: status.as_mut_bytes(),
            buffers: &mut [],
        });
        match done {
            Ok(_) => Ok(Some(status)),
            Err(refused) if NO_PORT.contains(&refused.0) => Ok(None),
            Err(refused) => Err(failed("to tell about an event channel")(refused)),
        }
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::DomainId;

    use crate::fake::FakeXen;
    use crate::fake::Traits;
    use crate::hypervisor::Hypervisor;

    #[test]
    fn ports_are_read_up_to_the_last_and_closed_ones_are_kept() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let states: Vec<(u32, u32)> =
            xen.ports(DomainId(0)).expect("ports").iter().map(|port| (port.port, port.status)).collect();
        assert_eq!(states, [(1, 4), (2, 0), (3, 3)]);
        assert!(xen.ports(DomainId(99)).expect("no ports").is_empty());
    }
}
