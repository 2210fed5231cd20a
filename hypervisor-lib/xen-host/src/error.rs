//! Why the hypervisor could not be asked, and how to mend it.

use std::io;

use crate::calls::Refused;

/// Why the hypervisor could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XenError {
    /// There is no Xen below this system.
    #[error("this system does not run on Xen: {path} does not say \"xen\"")]
    NotOnXen {
        /// Where the kernel would say so.
        path: &'static str,
    },
    /// The kernel has no such device.
    #[error("{path} is not there")]
    NoDevice {
        /// The device.
        path: &'static str,
    },
    /// The user may not open a device.
    #[error("{path} may not be opened by this user")]
    NotRoot {
        /// The device.
        path: &'static str,
    },
    /// A device cannot be opened or used.
    #[error("{what}")]
    Device {
        /// What was tried with which device.
        what: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// The hypervisor answers, but not to this domain.
    #[error("the hypervisor refuses {what}: this is not its control domain (dom0), or a security policy forbids it")]
    NotPrivileged {
        /// What was asked for.
        what: &'static str,
    },
    /// The hypervisor's interface has a version whose layouts are not known here.
    #[error("Xen {xen} speaks no known version of the {interface} interface; tried {tried}")]
    UnknownInterface {
        /// The hypervisor's version.
        xen: String,
        /// Which interface.
        interface: &'static str,
        /// The versions that were tried.
        tried: String,
    },
    /// A hypercall failed.
    #[error("the hypervisor refuses {what}")]
    Call {
        /// What was asked for.
        what: String,
        /// The answer.
        #[source]
        source: Refused,
    },
    /// A debug key printed nothing that could be its dump.
    #[error("debug key '{key}' printed no line with \"{heading}\"")]
    NoDump {
        /// The key.
        key: char,
        /// What its dump begins with.
        heading: &'static str,
    },
    /// The console ring is too small for what was printed.
    #[error(
        "the hypervisor's console ring is too small: {lost} bytes of what debug key '{key}' printed were written over"
    )]
    RingTooSmall {
        /// The key.
        key: char,
        /// How many bytes.
        lost: u32,
    },
    /// What the hypervisor keeps in shared memory makes no sense.
    #[error("the trace buffers make no sense: {what}")]
    Trace {
        /// What is wrong.
        what: String,
    },
    /// Xenstore refused a request.
    #[error("xenstore refuses {path}: {error}")]
    XenStore {
        /// The path asked for.
        path: String,
        /// Its name of the error, such as `EACCES`.
        error: String,
    },
}

impl XenError {
    /// What to do about it; `None` where nothing general can be said.
    #[must_use]
    pub const fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotOnXen { .. } => "run it in dom0 of the Xen host",
            Self::NoDevice { .. } => {
                "load the kernel's drivers: modprobe xen-privcmd; modprobe xen-evtchn (they need dom0's kernel)"
            }
            Self::NotRoot { .. } => "run it as root (sudo)",
            Self::NotPrivileged { .. } => "run it in dom0; under XSM/FLASK let its label use sysctl and domctl",
            Self::UnknownInterface { .. } => {
                "a newer carillon may know it; until then record the host by hand (`carillon explain dumps`)"
            }
            Self::RingTooSmall { .. } => "make the ring larger on the hypervisor's command line: conring_size=1M",
            Self::NoDump { .. } => {
                "let the hypervisor log warnings (loglvl= on its command line, or `xl debug-keys +`)"
            }
            Self::Device { .. } | Self::Call { .. } | Self::Trace { .. } | Self::XenStore { .. } => return None,
        })
    }
}
