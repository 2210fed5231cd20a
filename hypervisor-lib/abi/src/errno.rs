//! Why a hypercall failed (`public/errno.h`): a hypercall returns the negated number.

/// An error number of Xen's hypercall interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum Errno {
    /// The caller lacks the privilege (`EPERM`).
    #[error("operation not permitted")]
    NotPermitted = 1,
    /// There is no such vCPU or object (`ENOENT`).
    #[error("no such entry")]
    NoEntry = 2,
    /// There is no such domain (`ESRCH`).
    #[error("no such domain")]
    NoDomain = 3,
    /// The device does not answer (`ENXIO`).
    #[error("no such device or address")]
    NoAddress = 6,
    /// Try again later (`EAGAIN`).
    #[error("try again")]
    TryAgain = 11,
    /// The hypervisor is out of memory (`ENOMEM`).
    #[error("out of memory")]
    NoMemory = 12,
    /// The object does not allow it (`EACCES`).
    #[error("access denied")]
    AccessDenied = 13,
    /// An argument lies where it cannot be read or written (`EFAULT`).
    #[error("bad address")]
    BadAddress = 14,
    /// Somebody else has it (`EBUSY`).
    #[error("busy")]
    Busy = 16,
    /// It is there already (`EEXIST`).
    #[error("exists already")]
    Exists = 17,
    /// There is no such device (`ENODEV`).
    #[error("no such device")]
    NoDevice = 19,
    /// An argument is wrong (`EINVAL`).
    #[error("invalid argument")]
    Invalid = 22,
    /// More than there can be of it (`ENFILE`).
    #[error("table overflow")]
    TableFull = 23,
    /// A limit is reached (`ENOSPC`).
    #[error("no space left")]
    NoSpace = 28,
    /// An argument is out of the function's domain (`EDOM`).
    #[error("argument out of domain")]
    OutOfDomain = 33,
    /// A result cannot be represented (`ERANGE`).
    #[error("out of range")]
    OutOfRange = 34,
    /// The operation does not exist here (`ENOSYS`).
    #[error("function not implemented")]
    NotImplemented = 38,
    /// Nothing is known of it (`ENODATA`).
    #[error("no data available")]
    NoData = 61,
    /// The call was broken off and is to be repeated (`ERESTART`); a guest never sees it.
    #[error("interrupted, to be restarted")]
    Restart = 85,
    /// The operation does not fit the present state (`EOPNOTSUPP`).
    #[error("operation not supported")]
    NotSupported = 95,
    /// The event channel is masked (`ENOTCONN`, as KVM's Xen emulation answers a send).
    #[error("not connected")]
    NotConnected = 107,
}

impl Errno {
    /// What the hypercall returns in its register: the negated number.
    #[must_use]
    pub const fn hypercall_result(self) -> i64 {
        -(self as i64)
    }

    /// The error a hypercall's result stands for; `None` for success and for numbers this interface does not use.
    #[must_use]
    pub fn from_hypercall_result(result: i64) -> Option<Self> {
        ALL.into_iter().find(|errno| errno.hypercall_result() == result)
    }
}

/// Every error, in the order of its numbers.
pub const ALL: [Errno; 21] = [
    Errno::NotPermitted,
    Errno::NoEntry,
    Errno::NoDomain,
    Errno::NoAddress,
    Errno::TryAgain,
    Errno::NoMemory,
    Errno::AccessDenied,
    Errno::BadAddress,
    Errno::Busy,
    Errno::Exists,
    Errno::NoDevice,
    Errno::Invalid,
    Errno::TableFull,
    Errno::NoSpace,
    Errno::OutOfDomain,
    Errno::OutOfRange,
    Errno::NotImplemented,
    Errno::NoData,
    Errno::Restart,
    Errno::NotSupported,
    Errno::NotConnected,
];

#[cfg(test)]
mod tests {
    use super::ALL;
    use super::Errno;

    #[test]
    fn a_hypercall_result_and_its_error_convert_into_each_other() {
        for errno in ALL {
            assert_eq!(Errno::from_hypercall_result(errno.hypercall_result()), Some(errno));
        }
        assert_eq!(Errno::from_hypercall_result(0), None);
        assert_eq!(Errno::from_hypercall_result(-1000), None);
        assert_eq!(Errno::Invalid.hypercall_result(), -22);
    }
}
