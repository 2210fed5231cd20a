//! What may lie in a page that both the hypervisor and the guest write.
//!
//! Every field of such a layout is an atomic, so that a peer that writes at any moment can give wrong values but never
//! undefined behaviour, and every field has one access width on our side. [`Shared`] is sealed: whoever maps guest memory
//! may rely on that.

/// The size of a page, in bytes.
pub const PAGE_SIZE: usize = 4096;

pub(crate) mod sealed {
    /// Keeps [`Shared`](super::Shared) to the layouts of this crate.
    pub trait Sealed {}
}

/// A layout the guest may write at any moment: all its fields are atomics, all bit patterns are valid, and it fits into a
/// page. Its default is all zeros.
pub trait Shared: sealed::Sealed + Default + Send + Sync + 'static {}
