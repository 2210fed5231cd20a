//! A domain's memory, as far as events need it: the pages both sides write, and the guest's own notes about its ports.
//!
//! Each layout has frames of its own, in which its structures lie side by side:
//!
//! | frames from | layout | one every |
//! |---|---|---|
//! | 100000 | shared page | page |
//! | 200000 | vCPU blocks, of vCPUs from 32 on | 64 bytes |
//! | 300000 | FIFO control blocks | 128 bytes |
//! | 400000 | pages of event words | page |
//! | 500000 | page of EOI bits | page |

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;

use guest_shim::ArrayPage;
use guest_shim::Gfn;
use guest_shim::Place;
use guest_shim::PortRecord;
use hypervisor_abi::PAGE_SIZE;
use hypervisor_abi::Port;
use hypervisor_abi::Shared;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EVENT_WORDS_PER_PAGE;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::page::AnyShared;
use hypervisor_abi::page::PageKind;
use hypervisor_abi::physdev::PirqEoiPage;
use hypervisor_lib::event::GuestPlace;
use self_cell::self_cell;

use crate::EventAbi;

/// vCPUs whose blocks are in the shared page (`XEN_LEGACY_MAX_VCPUS`).
const VCPUS_IN_SHARED_INFO: u32 = 32;

/// The memory of one domain.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) shared: SharedInfo64,
    infos: Box<[VcpuInfo64]>,
    controls: Box<[ControlBlock]>,
    arrays: Arrays,
    eois: Box<[PirqEoiPage]>,
    /// The guest's own: record *p* is port *p*'s.
    pub(super) records: Box<[PortRecord]>,
}

/// How much memory a domain's events need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) abi: EventAbi,
    pub(super) vcpus: u32,
    /// Ports in use, without port 0.
    pub(super) ports: u32,
    pub(super) pirqs: u32,
}

self_cell!(
    /// Pages of event words, with the list in which a guest keeps them.
    struct Arrays {
        owner: Box<[EventArray]>,
        #[covariant]
        dependent: ArrayPages,
    }

    impl { Debug }
);

type ArrayPages<'a> = Vec<ArrayPage<'a>>;

impl Pages {
    pub(super) fn new(extent: Extent) -> Self {
        let own_infos = extent.vcpus.saturating_sub(VCPUS_IN_SHARED_INFO);
        let (controls, arrays) = match extent.abi {
            EventAbi::Fifo => (extent.vcpus, Port(extent.ports).index() / EVENT_WORDS_PER_PAGE + 1),
            EventAbi::TwoLevel => (0, 0),
        };
        let arrays: Box<[EventArray]> = iter::repeat_with(EventArray::default).take(arrays).collect();
        Self {
            shared: SharedInfo64::default(),
            infos: zeroed(own_infos),
            controls: zeroed(controls),
            arrays: Arrays::new(arrays, |arrays| {
                let gfns = (frames_of(PageKind::EventArray).first..).map(Gfn);
                arrays.iter().zip(gfns).map(|(words, gfn)| ArrayPage { words, gfn }).collect()
            }),
            eois: zeroed(extent.pirqs.min(1)),
            records: zeroed(extent.ports + 1),
        }
    }

    /// A vCPU's block, and where it must be registered if it is not in the shared page.
    pub(super) fn info(&self, vcpu: VcpuId) -> Option<(&VcpuInfo64, Option<Place>)> {
        let own = vcpu.0.checked_sub(VCPUS_IN_SHARED_INFO);
        match own.map(|own| Port(own).index()) {
            None => Some((self.shared.vcpu_info.get(vcpu.index())?, None)),
            Some(own) => Some((self.infos.get(own)?, Some(place_of::<VcpuInfo64>(own)))),
        }
    }

    /// A vCPU's FIFO control block.
    pub(super) fn control(&self, vcpu: VcpuId) -> Option<(&ControlBlock, Place)> {
        Some((self.controls.get(vcpu.index())?, place_of::<ControlBlock>(vcpu.index())))
    }

    /// The pages of event words.
    pub(super) fn arrays(&self) -> &[ArrayPage<'_>] {
        self.arrays.borrow_dependent()
    }

    /// The page of EOI bits, if the domain has physical IRQs.
    pub(super) fn eois(&self) -> Option<(&PirqEoiPage, Gfn)> {
        Some((self.eois.first()?, place_of::<PirqEoiPage>(0).gfn))
    }

    /// The structure of a layout by its number.
    pub(super) fn get<T: Shared>(&self, index: usize) -> Option<&T> {
        T::narrow(match T::KIND {
            PageKind::SharedInfo64 if index == 0 => AnyShared::SharedInfo64(&self.shared),
            PageKind::VcpuInfo64 => AnyShared::VcpuInfo64(self.infos.get(index)?),
            PageKind::ControlBlock => AnyShared::ControlBlock(self.controls.get(index)?),
            PageKind::EventArray => AnyShared::EventArray(self.arrays.borrow_owner().get(index)?),
            PageKind::PirqEoiPage => AnyShared::PirqEoiPage(self.eois.get(index)?),
            PageKind::SharedInfo64 | PageKind::SharedInfo32 | PageKind::VcpuInfo32 => return None,
        })
    }

    /// The number of the structure of a layout at a place; `None` where there is none.
    pub(super) fn index<T: Shared>(&self, place: GuestPlace) -> Option<usize> {
        let frames = frames_of(T::KIND);
        let frame = usize::try_from(place.gfn.checked_sub(frames.first)?).ok()?;
        let offset = usize::try_from(place.offset).ok()?;
        let index = frame.checked_mul(PAGE_SIZE / frames.stride)?.checked_add(offset / frames.stride)?;
        let is_there = offset < PAGE_SIZE && offset.is_multiple_of(frames.stride) && self.get::<T>(index).is_some();
        is_there.then_some(index)
    }
}

/// Where the structures of a layout lie.
#[derive(Clone, Copy, Debug)]
struct Frames {
    first: u64,
    stride: usize,
}

const fn frames_of(kind: PageKind) -> Frames {
    match kind {
        PageKind::SharedInfo64 | PageKind::SharedInfo32 => Frames { first: SHARED_INFO_GFN, stride: PAGE_SIZE },
        PageKind::VcpuInfo64 | PageKind::VcpuInfo32 => Frames { first: 0x20_0000, stride: 64 },
        PageKind::ControlBlock => Frames { first: 0x30_0000, stride: 128 },
        PageKind::EventArray => Frames { first: 0x40_0000, stride: PAGE_SIZE },
        PageKind::PirqEoiPage => Frames { first: 0x50_0000, stride: PAGE_SIZE },
    }
}

/// The frame of the shared page.
pub(super) const SHARED_INFO_GFN: u64 = 0x10_0000;

fn place_of<T: Shared>(index: usize) -> Place {
    let frames = frames_of(T::KIND);
    let (frame, offset) = (index * frames.stride / PAGE_SIZE, index * frames.stride % PAGE_SIZE);
    #[expect(clippy::cast_possible_truncation, reason = "an offset within a page")]
    Place { gfn: Gfn(frames.first + frame as u64), offset: offset as u32 }
}

/// So many structures of zeros.
fn zeroed<T: Default>(count: u32) -> Box<[T]> {
    iter::repeat_with(T::default).take(Port(count).index()).collect()
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::Shared;
    use hypervisor_abi::SharedInfo64;
    use hypervisor_abi::VcpuInfo64;
    use hypervisor_abi::event::ControlBlock;
    use hypervisor_abi::event::EventArray;
    use hypervisor_abi::physdev::PirqEoiPage;
    use hypervisor_lib::event::GuestPlace;

    use super::Extent;
    use super::Pages;
    use super::place_of;
    use crate::EventAbi;

    /// Each structure is found at its place and nowhere beside it; whether there is one of that number.
    fn is_at_its_place<T: Shared>(pages: &Pages, index: usize) -> bool {
        let place = place_of::<T>(index);
        let at = |offset| pages.index::<T>(GuestPlace { gfn: place.gfn.0, offset });
        assert_eq!(at(place.offset), pages.get::<T>(index).map(|_| index));
        assert_eq!(at(place.offset + 1), None);
        assert_eq!(at(place.offset + 4096), None);
        pages.get::<T>(index).is_some()
    }

    #[test]
    fn every_structure_has_one_place_and_every_place_one_structure() {
        let pages = Pages::new(Extent { abi: EventAbi::Fifo, vcpus: 100, ports: 2047, pirqs: 5 });
        let count = |is_there: fn(&Pages, usize) -> bool| (0..300).filter(|index| is_there(&pages, *index)).count();
        assert_eq!(count(is_at_its_place::<SharedInfo64>), 1);
        assert_eq!(count(is_at_its_place::<VcpuInfo64>), 68);
        assert_eq!(count(is_at_its_place::<ControlBlock>), 100);
        assert_eq!(count(is_at_its_place::<EventArray>), 2);
        assert_eq!(count(is_at_its_place::<PirqEoiPage>), 1);
    }
}
