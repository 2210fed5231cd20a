//! What may lie in a page that both the hypervisor and the guest write.
//!
//! Every field of such a layout is an atomic, so that a peer that writes at any moment can give wrong values but never
//! undefined behaviour, and every field has one access width on our side. [`Shared`] is sealed: whoever maps guest memory
//! may rely on that.

use crate::event::ControlBlock;
use crate::event::EventArray;
use crate::physdev::PirqEoiPage;
use crate::shared_info::SharedInfo32;
use crate::shared_info::SharedInfo64;
use crate::vcpu_info::VcpuInfo32;
use crate::vcpu_info::VcpuInfo64;

/// The size of a page, in bytes.
pub const PAGE_SIZE: usize = 4096;

pub(crate) mod sealed {
    /// Keeps [`Shared`](super::Shared) to the layouts of this crate.
    pub trait Sealed {}
}

/// A layout the guest may write at any moment: all its fields are atomics, all bit patterns are valid, and it fits into a
/// page. Its default is all zeros.
pub trait Shared: sealed::Sealed + Default + Send + Sync + 'static {
    /// Which layout this is.
    const KIND: PageKind;

    /// How many bytes of a page it takes (loom's atomics are bigger).
    const SIZE: usize;

    /// The reference in `any`, if it is to this layout.
    fn narrow(any: AnyShared<'_>) -> Option<&Self>;
}

/// Declares the layouts there are, so that memory without pointer casts can keep them side by side.
macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident = $size:literal,)*) => {
        /// The layouts a peer may write.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum PageKind {
            $($(#[$doc])* $name,)*
        }

        /// A reference to one of the layouts.
        #[derive(Clone, Copy, Debug)]
        pub enum AnyShared<'a> {
            $($(#[$doc])* $name(&'a $name),)*
        }

        $(
            impl sealed::Sealed for $name {}
            impl Shared for $name {
                const KIND: PageKind = PageKind::$name;
                const SIZE: usize = $size;

                fn narrow(any: AnyShared<'_>) -> Option<&Self> {
                    if let AnyShared::$name(layout) = any { Some(layout) } else { None }
                }
            }

            #[cfg(not(any(loom, shuttle)))]
            const _: () = assert!(size_of::<$name>() == $size && $size <= PAGE_SIZE);
        )*
    };
}

layouts! {
    /// The shared page of a 64-bit guest.
    SharedInfo64 = 3136,
    /// The shared page of a 32-bit guest.
    SharedInfo32 = 2344,
    /// A vCPU's block in a 64-bit guest's layout.
    VcpuInfo64 = 64,
    /// A vCPU's block in a 32-bit guest's layout.
    VcpuInfo32 = 64,
    /// A FIFO control block.
    ControlBlock = 72,
    /// A page of FIFO event words.
    EventArray = 4096,
    /// A page with a bit for each physical IRQ.
    PirqEoiPage = 4096,
}
