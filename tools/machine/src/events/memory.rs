//! The domains' memory, as far as events need it: the pages both sides write, and the guests' own notes about their ports.
//!
//! Structures of one layout stand side by side, those of all domains in one table, so that a handle is an index and nothing
//! is allocated for each domain. A page that nobody has written yet takes no memory.
//!
//! Each layout has frames of its own in every domain, in which the domain's structures lie in order:
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
use core::ops::Range;

use guest_shim::ArrayPage;
use guest_shim::Gfn;
use guest_shim::Place;
use guest_shim::PortRecord;
use hypervisor_abi::DomainId;
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
use zerocopy::FromZeros;

use crate::EventAbi;

/// vCPUs whose blocks are in the shared page (`XEN_LEGACY_MAX_VCPUS`).
const VCPUS_IN_SHARED_INFO: u32 = 32;

/// The memory of all domains.
#[derive(Debug)]
pub(super) struct Memory {
    /// Which structures are whose, by domain.
    shares: Box<[Share]>,
    shared: Box<[SharedInfo64]>,
    infos: Box<[VcpuInfo64]>,
    controls: Box<[ControlBlock]>,
    words: Words,
    eois: Box<[PirqEoiPage]>,
    /// The guests' own.
    records: Box<[PortRecord]>,
}

/// How much memory a domain's events need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) abi: EventAbi,
    pub(super) vcpus: u32,
    /// Ports that take events, without port 0.
    pub(super) ports: u32,
    pub(super) pirqs: u32,
}

/// A domain's structures among those of all: of each layout the first, and one more than the last.
#[derive(Clone, Debug)]
struct Share {
    shared: Range<usize>,
    infos: Range<usize>,
    controls: Range<usize>,
    words: Range<usize>,
    eois: Range<usize>,
    records: Range<usize>,
}

self_cell!(
    /// Pages of event words, with the lists in which guests keep them.
    struct Words {
        owner: Box<[EventArray]>,
        #[covariant]
        dependent: ArrayPages,
    }

    impl { Debug }
);

type ArrayPages<'a> = Vec<ArrayPage<'a>>;

/// The memory cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMemory;

/// One domain's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages<'m> {
    pub(super) shared: &'m SharedInfo64,
    infos: &'m [VcpuInfo64],
    controls: &'m [ControlBlock],
    /// The pages of event words.
    pub(super) arrays: &'m [ArrayPage<'m>],
    eois: &'m [PirqEoiPage],
    /// Record *p* is port *p*'s.
    pub(super) records: &'m [PortRecord],
}

impl Memory {
    /// Memory for domains, by number.
    ///
    /// # Errors
    /// There is not so much.
    pub(super) fn new(extents: &[Extent]) -> Result<Self, NoMemory> {
        let shares: Box<[Share]> =
            extents.iter().scan(Share::NONE, |last, extent| Some(last.advance(extent))).collect();
        let end = shares.last().cloned().unwrap_or(Share::NONE);
        let gfns = |share: &Share| (frames_of(PageKind::EventArray).first..).map(Gfn).take(share.words.len());
        Ok(Self {
            shared: zeroed(end.shared.end)?,
            infos: zeroed(end.infos.end)?,
            controls: zeroed(end.controls.end)?,
            words: Words::new(zeroed(end.words.end)?, |words| {
                let pages = words.iter().zip(shares.iter().flat_map(gfns));
                pages.map(|(words, gfn)| ArrayPage { words, gfn }).collect()
            }),
            eois: zeroed(end.eois.end)?,
            records: iter::repeat_with(PortRecord::new).take(end.records.end).collect(),
            shares,
        })
    }

    /// One domain's memory.
    pub(super) fn of(&self, domain: DomainId) -> Option<Pages<'_>> {
        let share = self.shares.get(usize::from(domain.0))?.clone();
        Some(Pages {
            shared: self.shared.get(share.shared.start)?,
            infos: self.infos.get(share.infos)?,
            controls: self.controls.get(share.controls)?,
            arrays: self.words.borrow_dependent().get(share.words)?,
            eois: self.eois.get(share.eois)?,
            records: self.records.get(share.records)?,
        })
    }

    /// The structure of a layout by its number among those of all domains.
    #[inline]
    pub(super) fn get<T: Shared>(&self, index: usize) -> Option<&T> {
        T::narrow(match T::KIND {
            PageKind::SharedInfo64 => AnyShared::SharedInfo64(self.shared.get(index)?),
            PageKind::VcpuInfo64 => AnyShared::VcpuInfo64(self.infos.get(index)?),
            PageKind::ControlBlock => AnyShared::ControlBlock(self.controls.get(index)?),
            PageKind::EventArray => AnyShared::EventArray(self.words.borrow_owner().get(index)?),
            PageKind::PirqEoiPage => AnyShared::PirqEoiPage(self.eois.get(index)?),
            PageKind::SharedInfo32 | PageKind::VcpuInfo32 => return None,
        })
    }

    /// The number of a domain's structure of a layout at a place; `None` where there is none.
    pub(super) fn index<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Option<usize> {
        let own = self.shares.get(usize::from(domain.0))?.of(T::KIND);
        let frames = frames_of(T::KIND);
        let frame = usize::try_from(place.gfn.checked_sub(frames.first)?).ok()?;
        let offset = usize::try_from(place.offset).ok()?;
        let turn = frame.checked_mul(PAGE_SIZE / frames.stride)?.checked_add(offset / frames.stride)?;
        let is_there = offset < PAGE_SIZE && offset.is_multiple_of(frames.stride) && turn < own.len();
        is_there.then(|| own.start + turn)
    }
}

impl Share {
    const NONE: Self = Self { shared: 0..0, infos: 0..0, controls: 0..0, words: 0..0, eois: 0..0, records: 0..0 };

    /// The share of the domain that comes after this one's.
    fn advance(&mut self, extent: &Extent) -> Self {
        let after = |last: &Range<usize>, count: u32| last.end..last.end + Port(count).index();
        let (controls, words) = match (extent.abi, extent.ports) {
            (EventAbi::Fifo, 0) => (extent.vcpus, 0),
            (EventAbi::Fifo, ports) => (extent.vcpus, ports / WORDS_PER_PAGE + 1),
            (EventAbi::TwoLevel, _) => (0, 0),
        };
        *self = Self {
            shared: after(&self.shared, 1),
            infos: after(&self.infos, extent.vcpus.saturating_sub(VCPUS_IN_SHARED_INFO)),
            controls: after(&self.controls, controls),
            words: after(&self.words, words),
            eois: after(&self.eois, extent.pirqs.min(1)),
            records: after(&self.records, extent.ports + 1),
        };
        self.clone()
    }

    fn of(&self, kind: PageKind) -> Range<usize> {
        match kind {
            PageKind::SharedInfo64 => self.shared.clone(),
            PageKind::VcpuInfo64 => self.infos.clone(),
            PageKind::ControlBlock => self.controls.clone(),
            PageKind::EventArray => self.words.clone(),
            PageKind::PirqEoiPage => self.eois.clone(),
            PageKind::SharedInfo32 | PageKind::VcpuInfo32 => 0..0,
        }
    }
}

impl<'m> Pages<'m> {
    /// A vCPU's block, and where it must be registered if it is not in the shared page.
    pub(super) fn info(&self, vcpu: VcpuId) -> Option<(&'m VcpuInfo64, Option<Place>)> {
        let own = vcpu.0.checked_sub(VCPUS_IN_SHARED_INFO);
        match own.map(|own| Port(own).index()) {
            None => Some((self.shared.vcpu_info.get(vcpu.index())?, None)),
            Some(own) => Some((self.infos.get(own)?, Some(place_of::<VcpuInfo64>(own)))),
        }
    }

    /// A vCPU's FIFO control block.
    pub(super) fn control(&self, vcpu: VcpuId) -> Option<(&'m ControlBlock, Place)> {
        Some((self.controls.get(vcpu.index())?, place_of::<ControlBlock>(vcpu.index())))
    }

    /// The page of EOI bits, if the domain has physical IRQs.
    pub(super) fn eois(&self) -> Option<(&'m PirqEoiPage, Gfn)> {
        Some((self.eois.first()?, place_of::<PirqEoiPage>(0).gfn))
    }
}

/// [`EVENT_WORDS_PER_PAGE`] as a number of ports.
const WORDS_PER_PAGE: u32 = 1024;
const _: () = assert!(WORDS_PER_PAGE as usize == EVENT_WORDS_PER_PAGE);

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

fn place_of<T: Shared>(turn: usize) -> Place {
    let frames = frames_of(T::KIND);
    let (frame, offset) = (turn * frames.stride / PAGE_SIZE, turn * frames.stride % PAGE_SIZE);
    #[expect(clippy::cast_possible_truncation, reason = "an offset within a page")]
    Place { gfn: Gfn(frames.first + frame as u64), offset: offset as u32 }
}

/// So many structures of zeros, fresh from the allocator.
fn zeroed<T: FromZeros>(count: usize) -> Result<Box<[T]>, NoMemory> {
    <[T]>::new_box_zeroed_with_elems(count).map_err(|_| NoMemory)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use hypervisor_abi::DomainId;
    use hypervisor_abi::Shared;
    use hypervisor_abi::SharedInfo64;
    use hypervisor_abi::VcpuInfo64;
    use hypervisor_abi::event::ControlBlock;
    use hypervisor_abi::event::EventArray;
    use hypervisor_abi::physdev::PirqEoiPage;
    use hypervisor_lib::event::GuestPlace;

    use super::Extent;
    use super::Memory;
    use super::place_of;
    use crate::EventAbi;

    /// The numbers of a domain's structures, each of which is found at its place and nowhere beside it.
    fn numbers<T: Shared>(memory: &Memory, domain: u16) -> Vec<usize> {
        let number = |turn| {
            let place = place_of::<T>(turn);
            let at = |offset| memory.index::<T>(DomainId(domain), GuestPlace { gfn: place.gfn.0, offset });
            assert_eq!(at(place.offset + 1), None);
            assert_eq!(at(place.offset + 4096), None);
            at(place.offset)
        };
        let numbers: Vec<usize> = (0..300).filter_map(number).collect();
        assert!(numbers.iter().all(|number| memory.get::<T>(*number).is_some()), "a place without a structure");
        numbers
    }

    /// How many structures each of two domains and a backend has; none of them is another's, and all are somebody's.
    fn shares<T: Shared>(memory: &Memory) -> Vec<usize> {
        let own: Vec<Vec<usize>> = (0..3).map(|domain| numbers::<T>(memory, domain)).collect();
        let mut all: Vec<usize> = own.iter().flatten().copied().collect();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..all.len()), "{all:?}");
        assert!(memory.get::<T>(all.len()).is_none());
        assert_eq!(numbers::<T>(memory, 3), [], "a domain that is not there has memory");
        own.iter().map(Vec::len).collect()
    }

    #[test]
    fn every_structure_has_one_place_in_one_domain_and_every_place_one_structure() {
        let backend = Extent { abi: EventAbi::Fifo, vcpus: 1, ports: 0, pirqs: 0 };
        let fifo = Extent { abi: EventAbi::Fifo, vcpus: 100, ports: 2047, pirqs: 5 };
        let two_level = Extent { abi: EventAbi::TwoLevel, vcpus: 40, ports: 4095, pirqs: 1 };
        let memory = Memory::new(&[backend, fifo, two_level]).unwrap();
        assert_eq!(shares::<SharedInfo64>(&memory), [1, 1, 1]);
        assert_eq!(shares::<VcpuInfo64>(&memory), [0, 68, 8]);
        assert_eq!(shares::<ControlBlock>(&memory), [1, 100, 0]);
        assert_eq!(shares::<EventArray>(&memory), [0, 2, 0]);
        assert_eq!(shares::<PirqEoiPage>(&memory), [0, 1, 1]);
        let records = |domain| memory.of(DomainId(domain)).unwrap().records.len();
        assert_eq!([records(0), records(1), records(2)], [1, 2048, 4096]);
    }
}
