//! Guest memory made of boxes, for simulators and tests: no pointer, no mapping.
//!
//! A place gets its structure, all zeros, when it is first pinned, and keeps it. The guest's side finds the same structure
//! by pinning the same place. Real memory would let a guest lay two structures over each other; here a second layout at one
//! place is another structure.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::fmt;
use core::num::NonZeroU64;

use hypervisor_abi::DomainId;
use hypervisor_abi::Shared;
use hypervisor_abi::SharedInfo32;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuInfo32;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::page::AnyShared;
use hypervisor_abi::page::PageKind;
use hypervisor_abi::physdev::PirqEoiPage;
use lock_api::Mutex;
use lock_api::RawMutex;
use once_cell::race::OnceBox;

use super::memory::GuestMemory;
use super::memory::GuestPlace;
use super::memory::PinError;
use super::memory::Pinned;

/// Guest memory of any number of domains.
pub struct HeapMemory<L: RawMutex> {
    structures: Box<[OnceBox<Structure>]>,
    known: Mutex<L, Known>,
    /// Frames from here on are not memory.
    end_gfn: u64,
}

impl<L: RawMutex> fmt::Debug for HeapMemory<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapMemory").field("end_gfn", &self.end_gfn).finish_non_exhaustive()
    }
}

/// Which structure lies where, and how often each is pinned.
#[derive(Debug, Default)]
struct Known {
    places: BTreeMap<(DomainId, GuestPlace, PageKind), usize>,
    pins: BTreeMap<usize, u32>,
}

/// Each in a box of its own size: a vCPU's block takes 64 bytes, not a page.
#[derive(Debug)]
enum Structure {
    SharedInfo64(Box<SharedInfo64>),
    SharedInfo32(Box<SharedInfo32>),
    VcpuInfo64(Box<VcpuInfo64>),
    VcpuInfo32(Box<VcpuInfo32>),
    ControlBlock(Box<ControlBlock>),
    EventArray(Box<EventArray>),
    PirqEoiPage(Box<PirqEoiPage>),
}

impl Structure {
    fn zeroed(kind: PageKind) -> Self {
        match kind {
            PageKind::SharedInfo64 => Self::SharedInfo64(Box::default()),
            PageKind::SharedInfo32 => Self::SharedInfo32(Box::default()),
            PageKind::VcpuInfo64 => Self::VcpuInfo64(Box::default()),
            PageKind::VcpuInfo32 => Self::VcpuInfo32(Box::default()),
            PageKind::ControlBlock => Self::ControlBlock(Box::default()),
            PageKind::EventArray => Self::EventArray(Box::default()),
            PageKind::PirqEoiPage => Self::PirqEoiPage(Box::default()),
        }
    }

    fn any(&self) -> AnyShared<'_> {
        match self {
            Self::SharedInfo64(layout) => AnyShared::SharedInfo64(layout),
            Self::SharedInfo32(layout) => AnyShared::SharedInfo32(layout),
            Self::VcpuInfo64(layout) => AnyShared::VcpuInfo64(layout),
            Self::VcpuInfo32(layout) => AnyShared::VcpuInfo32(layout),
            Self::ControlBlock(layout) => AnyShared::ControlBlock(layout),
            Self::EventArray(layout) => AnyShared::EventArray(layout),
            Self::PirqEoiPage(layout) => AnyShared::PirqEoiPage(layout),
        }
    }
}

impl<L: RawMutex> HeapMemory<L> {
    /// Memory for at most `structures` structures; frames from `end_gfn` on are not memory.
    #[must_use]
    pub fn new(structures: usize, end_gfn: u64) -> Self {
        let structures = (0..structures).map(|_| OnceBox::new()).collect();
        Self { structures, known: Mutex::new(Known::default()), end_gfn }
    }

    /// How many pins are not given back yet.
    pub fn pins(&self) -> u32 {
        self.known.lock().pins.values().sum()
    }

    /// The guest's own view of a place: no pin.
    ///
    /// # Errors
    /// [`PinError`], as for a pin.
    pub fn view<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<&T, PinError> {
        let pinned = self.locate::<T>(&mut self.known.lock(), domain, place)?;
        self.get(pinned).ok_or(PinError::NotMemory { domain, place })
    }

    fn locate<T: Shared>(&self, known: &mut Known, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        if place.gfn >= self.end_gfn || !place.fits(T::SIZE) {
            return Err(PinError::NotMemory { domain, place });
        }
        let next = known.places.len();
        let index = *known.places.entry((domain, place, T::KIND)).or_insert(next);
        let cell = self.structures.get(index);
        let number = u64::try_from(index + 1).ok().and_then(NonZeroU64::new);
        let (Some(cell), Some(number)) = (cell, number) else {
            known.places.remove(&(domain, place, T::KIND));
            return Err(PinError::NoRoom { domain, place });
        };
        cell.get_or_init(|| Box::new(Structure::zeroed(T::KIND)));
        Ok(Pinned::new(number))
    }

    fn index<T>(pinned: Pinned<T>) -> Option<usize> {
        usize::try_from(pinned.number().get()).ok()?.checked_sub(1)
    }
}

impl<L: RawMutex> GuestMemory for HeapMemory<L> {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        let mut known = self.known.lock();
        let pinned = self.locate::<T>(&mut known, domain, place)?;
        if let Some(index) = Self::index(pinned) {
            *known.pins.entry(index).or_default() += 1;
        }
        Ok(pinned)
    }

    fn unpin<T: Shared>(&self, pinned: Pinned<T>) {
        let mut known = self.known.lock();
        let count = Self::index(pinned).and_then(|index| known.pins.get_mut(&index));
        let count = count.filter(|count| **count > 0).expect("only what is pinned is given back");
        *count -= 1;
    }

    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        T::narrow(self.structures.get(Self::index(pinned)?)?.get()?.any())
    }
}
