//! Event channels of dom0's own: `/dev/xen/evtchn` (`linux/include/uapi/xen/evtchn.h`).

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;

use crate::device;
use crate::device::Request;
use crate::error::XenError;

const EVTCHN: &str = "/dev/xen/evtchn";

/// `IOCTL_EVTCHN_BIND_INTERDOMAIN`: domain and its port.
const BIND_INTERDOMAIN: Request<[u32; 2]> = Request::new(b'E', 1);
/// `IOCTL_EVTCHN_BIND_UNBOUND_PORT`: the domain that may connect.
const BIND_UNBOUND: Request<[u32; 1]> = Request::new(b'E', 2);
/// `IOCTL_EVTCHN_UNBIND`.
const UNBIND: Request<[u32; 1]> = Request::new(b'E', 3);
/// `IOCTL_EVTCHN_NOTIFY`.
const NOTIFY: Request<[u32; 1]> = Request::new(b'E', 4);

/// A set of event channels whose events are received together. They are closed when it is dropped.
#[derive(Debug)]
pub struct EventChannels {
    device: File,
}

impl EventChannels {
    /// An empty set.
    ///
    /// # Errors
    /// [`XenError::NoDevice`], [`XenError::NotRoot`] or [`XenError::Device`].
    pub fn open() -> Result<Self, XenError> {
        Ok(Self { device: device::open(EVTCHN)? })
    }

    /// Offers a port to a domain.
    ///
    /// # Errors
    /// [`XenError::Device`].
    pub fn bind_unbound(&self, remote: DomainId) -> Result<Port, XenError> {
        self.bind(BIND_UNBOUND, [remote.0.into()], || format!("a port cannot be offered to {remote}"))
    }

    /// Connects to a port another domain offers. The new port has an event at once.
    ///
    /// # Errors
    /// [`XenError::Device`].
    pub fn bind_interdomain(&self, remote: DomainId, port: Port) -> Result<Port, XenError> {
        self.bind(BIND_INTERDOMAIN, [remote.0.into(), port.0], || format!("{port} of {remote} cannot be connected to"))
    }

    /// Sends an event to the other end.
    ///
    /// # Errors
    /// [`XenError::Device`].
    pub fn notify(&self, port: Port) -> Result<(), XenError> {
        self.request(NOTIFY, [port.0], || format!("no event can be sent through {port}")).map(|_| ())
    }

    /// Closes a port.
    ///
    /// # Errors
    /// [`XenError::Device`].
    pub fn unbind(&self, port: Port) -> Result<(), XenError> {
        self.request(UNBIND, [port.0], || format!("{port} cannot be closed")).map(|_| ())
    }

    /// Waits for an event, at most so long; the port stays masked until [`unmask`](Self::unmask). `None` if none came.
    ///
    /// # Errors
    /// [`XenError::Device`]; the driver says so (`EFBIG`) if more events came than its ring holds.
    pub fn wait(&self, at_most: Duration) -> Result<Option<Port>, XenError> {
        let failed = |source| XenError::Device { what: format!("{EVTCHN} cannot be waited for"), source };
        let mut ready = libc::pollfd { fd: self.device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let ms = i32::try_from(at_most.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one structure, which outlives the call, and its descriptor is open.
        let count = unsafe { libc::poll(&raw mut ready, 1, ms) };
        if count < 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        if count == 0 {
            return Ok(None);
        }
        let mut port = [0; 4];
        (&self.device).read_exact(&mut port).map_err(failed)?;
        Ok(Some(Port(u32::from_ne_bytes(port))))
    }

    /// Lets the next event of a port come.
    ///
    /// # Errors
    /// [`XenError::Device`].
    pub fn unmask(&self, port: Port) -> Result<(), XenError> {
        let failed = |source| XenError::Device { what: format!("{port} cannot be unmasked"), source };
        (&self.device).write_all(&port.0.to_ne_bytes()).map_err(failed)
    }

    fn bind<const N: usize>(
        &self,
        request: Request<[u32; N]>,
        argument: [u32; N],
        what: impl Fn() -> String,
    ) -> Result<Port, XenError> {
        self.request(request, argument, what).map(|port| Port(port.unsigned_abs()))
    }

    fn request<const N: usize>(
        &self,
        request: Request<[u32; N]>,
        mut argument: [u32; N],
        what: impl Fn() -> String,
    ) -> Result<i32, XenError> {
        // SAFETY: the requests are those of this driver, with arguments of that many words, none of them an address.
        let result = unsafe { request.issue(&self.device, &mut argument) };
        result.map_err(|source| XenError::Device { what: what(), source })
    }
}
