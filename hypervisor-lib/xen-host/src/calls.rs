//! A hypercall as its caller sees it: plain memory, no addresses.

use std::fmt;

use hypervisor_abi::Errno;

/// A hypercall's number (`__HYPERVISOR_*`, `public/xen.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum HypercallNumber {
    /// `__HYPERVISOR_xen_version`.
    XenVersion = 17,
    /// `__HYPERVISOR_event_channel_op`.
    EventChannelOp = 32,
    /// `__HYPERVISOR_sysctl`.
    Sysctl = 35,
    /// `__HYPERVISOR_domctl`.
    Domctl = 36,
}

/// A hypercall whose last argument is one structure in memory.
#[derive(Debug)]
pub struct Call<'a, 'b> {
    /// Which one.
    pub number: HypercallNumber,
    /// The argument before the structure, if the call has one: what of it is asked for.
    pub command: Option<u64>,
    /// The structure; the hypervisor may write it. Empty for a null pointer.
    pub argument: &'a mut [u8],
    /// What the structure points at.
    pub buffers: &'a mut [Buffer<'b>],
}

/// Memory a hypercall's structure points at.
#[derive(Debug)]
pub struct Buffer<'a> {
    /// Where in the structure its address goes, bytes from the beginning; eight bytes are written.
    pub at: usize,
    /// The memory; the hypervisor may write it.
    pub bytes: &'a mut [u8],
}

/// Whatever carries hypercalls to a hypervisor.
pub trait Hypercalls {
    /// Carries one out.
    ///
    /// # Errors
    /// [`Refused`] with the error number the hypervisor, or the kernel on the way, answers with.
    fn call(&self, call: Call<'_, '_>) -> Result<u64, Refused>;
}

/// A hypercall was refused: the error number, Xen's or the kernel's, which agree on x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub i32);

impl Refused {
    /// The error of Xen's interface it stands for; `None` for a number that interface does not use.
    #[must_use]
    pub fn errno(self) -> Option<Errno> {
        Errno::from_hypercall_result(-i64::from(self.0))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno() {
            Some(errno) => write!(f, "{errno} (error {})", self.0),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl std::error::Error for Refused {}
