//! How guest pages reach this core without a pointer: handles.
//!
//! The core never knows where guest memory is. It *pins* a place of a guest frame once, when the guest names it in a
//! hypercall, and gets a [`Pinned`] handle, which is a number. Wherever it touches the place it trades the handle for a
//! reference to a structure of atomics ([`Shared`]), which lives no longer than the borrow of the memory. That makes three
//! things possible without unsafe code:
//!
//! * a handle sits in an atomic cell ([`PinCell`]), so that senders find a page that was published a moment ago, or find it
//!   gone, without a lock;
//! * a virtual machine monitor implements the trade as bounds check and addition over its flat guest memory; a hypervisor
//!   with a direct map likewise; a simulator as a table of boxes ([`HeapMemory`](super::HeapMemory));
//! * nothing can be freed under a reader's feet: a handle that was unpinned trades for *some* structure of atomics or for
//!   nothing, never for a dangling reference. No sender writes through one, because all ports are closed before.

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU64;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::PAGE_SIZE;
use hypervisor_abi::Shared;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;

/// Guest memory, as far as event channels need it.
pub trait GuestMemory {
    /// Keeps the guest from giving up a frame, and gives a handle to a place in it.
    ///
    /// # Errors
    /// [`PinError`]: the frame is not writable memory of the domain, or there is no room for one more mapping.
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError>;

    /// Gives a handle back. References already traded stay valid; later trades may fail.
    fn unpin<T: Shared>(&self, pinned: Pinned<T>);

    /// Trades a handle for the structure; `None` if the handle is no longer known.
    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T>;
}

/// A place in a guest's memory: a frame and an offset within it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPlace {
    /// The guest frame number.
    pub gfn: u64,
    /// The offset, in bytes.
    pub offset: u32,
}

impl GuestPlace {
    /// The start of a frame.
    #[must_use]
    pub const fn frame(gfn: u64) -> Self {
        Self { gfn, offset: 0 }
    }

    /// Whether `size` bytes from here stay in the frame.
    #[must_use]
    pub const fn fits(self, size: usize) -> bool {
        size <= PAGE_SIZE && self.offset as usize <= PAGE_SIZE - size
    }
}

impl fmt::Display for GuestPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gfn {:#x} + {:#x}", self.gfn, self.offset)
    }
}

/// A guest frame could not be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// The frame is not writable memory of the domain.
    #[error("{domain} has no writable memory at {place}")]
    NotMemory {
        /// Whose memory.
        domain: DomainId,
        /// Where.
        place: GuestPlace,
    },
    /// The hypervisor has no room for one more mapping.
    #[error("no room to map {place} of {domain}")]
    NoRoom {
        /// Whose memory.
        domain: DomainId,
        /// Where.
        place: GuestPlace,
    },
}

impl PinError {
    /// The number a hypercall returns.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::NotMemory { .. } => Errno::Invalid,
            Self::NoRoom { .. } => Errno::NoMemory,
        }
    }
}

/// A handle to a pinned place of layout `T`.
pub struct Pinned<T> {
    number: NonZeroU64,
    layout: PhantomData<fn() -> T>,
}

impl<T> Pinned<T> {
    /// A handle of the memory's own numbering.
    #[must_use]
    pub const fn new(number: NonZeroU64) -> Self {
        Self { number, layout: PhantomData }
    }

    /// The memory's number for it.
    #[must_use]
    pub const fn number(self) -> NonZeroU64 {
        self.number
    }
}

impl<T> Clone for Pinned<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pinned<T> {}

impl<T> fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({})", self.number)
    }
}

/// A cell for a handle that senders read without a lock. Whoever changes it holds the domain's event lock.
#[derive(Debug)]
pub(crate) struct PinCell<T> {
    number: AtomicU64,
    layout: PhantomData<fn() -> T>,
}

impl<T: Shared> PinCell<T> {
    pub(crate) fn empty() -> Self {
        Self { number: AtomicU64::new(0), layout: PhantomData }
    }

    /// Publishes a handle; what was written before is visible to whoever finds it.
    pub(crate) fn set(&self, pinned: Pinned<T>) {
        self.number.store(pinned.number.get(), Ordering::Release);
    }

    pub(crate) fn pinned(&self) -> Option<Pinned<T>> {
        NonZeroU64::new(self.number.load(Ordering::Acquire)).map(Pinned::new)
    }

    pub(crate) fn get<'m>(&self, memory: &'m impl GuestMemory) -> Option<&'m T> {
        memory.get(self.pinned()?)
    }

    /// Empties the cell and gives its handle back.
    pub(crate) fn unpin(&self, memory: &impl GuestMemory) {
        if let Some(pinned) = NonZeroU64::new(self.number.swap(0, Ordering::AcqRel)) {
            memory.unpin(Pinned::<T>::new(pinned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GuestPlace;

    #[test]
    fn a_place_fits_only_inside_its_frame() {
        assert!(GuestPlace { gfn: 1, offset: 4096 - 72 }.fits(72));
        assert!(!GuestPlace { gfn: 1, offset: 4096 - 71 }.fits(72));
        assert!(!GuestPlace { gfn: 1, offset: u32::MAX }.fits(1));
        assert!(GuestPlace::frame(1).fits(4096));
        assert!(!GuestPlace::frame(1).fits(4097));
    }
}
