//! Memory of other domains, and of the hypervisor where it shows some.

use std::fmt;
use std::slice;
use std::sync::atomic::AtomicU32;

use hypervisor_abi::DomainId;

use crate::error::XenError;
use crate::pages::Pages;

/// Stands for the hypervisor as the owner of frames it shows to dom0 (`DOMID_XEN`, `public/xen.h`).
pub(crate) const DOMID_XEN: DomainId = DomainId(0x7ff2);

/// A frame of machine memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(pub u64);

/// Words that others read and write at any moment.
pub trait Words {
    /// All of them.
    fn words(&self) -> &[AtomicU32];
}

/// Whatever maps other domains' frames.
pub trait ForeignMemory {
    /// Frames that are mapped.
    type Frames: Words;

    /// Copies what frames of a domain hold, which this domain may only read.
    ///
    /// # Errors
    /// [`XenError::Device`] if one of them cannot be mapped.
    fn copy(&self, domain: DomainId, frames: &[Frame]) -> Result<Vec<u32>, XenError>;

    /// Maps frames of a domain one after the other, for reading and writing.
    ///
    /// # Errors
    /// [`XenError::Device`] if one of them cannot be mapped.
    fn map(&self, domain: DomainId, frames: &[Frame]) -> Result<Self::Frames, XenError>;
}

/// Frames mapped by the kernel, until they are dropped.
pub struct MappedFrames(Pages);

impl MappedFrames {
    pub(crate) const fn new(pages: Pages) -> Self {
        Self(pages)
    }
}

impl Words for MappedFrames {
    fn words(&self) -> &[AtomicU32] {
        let words = self.0.length() / size_of::<AtomicU32>();
        // SAFETY: the pages are mapped until `self` is dropped and begin at a page's beginning; atomics bear that others write
        // them, and nobody here ever makes plain references to them.
        unsafe { slice::from_raw_parts(self.0.address().as_ptr().cast(), words) }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached through atomics alone.
unsafe impl Send for MappedFrames {}

impl fmt::Debug for MappedFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFrames({} bytes)", self.0.length())
    }
}
