//! How a guest whose frames the hypervisor translates finds its shared page (`public/memory.h`).

/// Puts a page of the hypervisor's at a frame of the guest's (`XENMEM_add_to_physmap`).
pub const XENMEM_ADD_TO_PHYSMAP: u32 = 7;
/// The shared page, [`SharedInfo64`](crate::SharedInfo64) or [`SharedInfo32`](crate::SharedInfo32)
/// (`XENMAPSPACE_shared_info`).
pub const XENMAPSPACE_SHARED_INFO: u32 = 0;

/// The argument of [`XENMEM_ADD_TO_PHYSMAP`] (`struct xen_add_to_physmap`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct AddToPhysmap {
    /// In: whose frame.
    pub domid: u16,
    /// In: how many pages, where the space has more than one.
    pub size: u16,
    /// In: which pages (`XENMAPSPACE_*`).
    pub space: u32,
    /// In: which of them.
    pub idx: u64,
    /// In: the frame.
    pub gpfn: u64,
}
