//! Pages that the guest shares with the hypervisor or with dom0: static, zeroed, and where the image puts them.

use core::mem;
use core::ops::Deref;

use guest_shim::ArrayPage;
use guest_shim::ControlPage;
use guest_shim::Gfn;
use guest_shim::Place;
use hypervisor_abi::PAGE_SIZE;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EventArray;
use spin::Once;
use zerocopy::FromZeros;

/// How many vCPUs the guest can use.
pub(crate) const VCPUS: usize = 2;
/// How many pages of event words it gives the hypervisor.
pub(crate) const ARRAY_PAGES: usize = 2;

/// The page of event channels.
pub(crate) static SHARED_INFO: Page<SharedInfo64> = Page::ZERO;
/// The block of the second vCPU, which it registers.
pub(crate) static SECOND_INFO: Page<VcpuInfo64> = Page::ZERO;
/// The queues, a page each.
static CONTROLS: [Page<ControlBlock>; VCPUS] = [const { Page::ZERO }; VCPUS];
/// The event words.
static ARRAYS: [Page<EventArray>; ARRAY_PAGES] = [const { Page::ZERO }; ARRAY_PAGES];
/// Pages for what a case tries.
static SPARE: [Page<EventArray>; 2] = [const { Page::ZERO }; 2];

/// A page of its own. What is in it has atomics where others write.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct Page<T>(T);

impl<T: FromZeros> Page<T> {
    /// All zeros.
    pub(crate) const ZERO: Self = const {
        assert!(size_of::<T>() <= PAGE_SIZE);
        // SAFETY: `FromZeros` says that zeros are a value.
        Self(unsafe { mem::zeroed() })
    };

    /// Its frame; addresses are physical ones.
    pub(crate) fn gfn(&'static self) -> Gfn {
        Gfn((&raw const *self).addr() as u64 / PAGE_SIZE as u64)
    }

    /// Its beginning, as the hypervisor is told it.
    pub(crate) fn place(&'static self) -> Place {
        Place { gfn: self.gfn(), offset: 0 }
    }
}

impl<T> Deref for Page<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The queues of a vCPU.
pub(crate) fn control(vcpu: usize) -> ControlPage<'static> {
    ControlPage { block: &CONTROLS[vcpu], place: CONTROLS[vcpu].place() }
}

/// The pages of event words.
pub(crate) fn arrays() -> &'static [ArrayPage<'static>] {
    static PAGES: Once<[ArrayPage<'static>; ARRAY_PAGES]> = Once::new();
    PAGES.call_once(|| ARRAYS.each_ref().map(|page| ArrayPage { words: page, gfn: page.gfn() }))
}

/// Frames that nothing else uses.
pub(crate) fn spare_frames() -> [u64; 2] {
    SPARE.each_ref().map(|page| page.gfn().0)
}
