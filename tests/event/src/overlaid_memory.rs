//! Guest memory as it really is: pages of bytes, in which a hostile guest can lay one structure over another.
//!
//! It is for one thread. What a guest would write meanwhile is given in advance, as [`Scribble`]s, and lands between two
//! trades of handles: in the midst of what the hypervisor does.
#![expect(unsafe_code, reason = "a view of a page in one of several layouts is a pointer cast")]

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use hypervisor_abi::DomainId;
use hypervisor_abi::Shared;
use hypervisor_lib::event::GuestMemory;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::PinError;
use hypervisor_lib::event::Pinned;
use parking_lot::Mutex;

use crate::world::View;

/// How many 64-bit words a page has.
const WORDS: usize = 512;
/// Any odd number with many bits: 2^64 divided by the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
#[repr(C, align(4096))]
struct Page([AtomicU64; WORDS]);

/// A write of the guest's: 32 bits, as most fields are.
#[derive(Clone, Copy, Debug)]
pub struct Scribble {
    /// Whose page.
    pub domain: DomainId,
    /// Which frame; one that does not exist takes no harm.
    pub gfn: u64,
    /// Which 32-bit word of it, modulo 1024.
    pub index: usize,
    /// What is written.
    pub value: u32,
}

/// Pages of a few domains.
#[derive(Debug)]
pub struct OverlaidMemory {
    domains: Vec<Box<[Page]>>,
    pins: Mutex<BTreeMap<u64, u32>>,
    trades: AtomicU64,
    /// What the guests will have written after so many more trades.
    to_come: Mutex<VecDeque<(u32, Scribble)>>,
}

impl OverlaidMemory {
    /// So many domains with so many pages each, all zeros.
    #[must_use]
    pub fn new(domains: usize, pages: usize) -> Self {
        let page = || Page([const { AtomicU64::new(0) }; WORDS]);
        Self {
            domains: (0..domains).map(|_| (0..pages).map(|_| page()).collect()).collect(),
            pins: Mutex::default(),
            trades: AtomicU64::new(0),
            to_come: Mutex::default(),
        }
    }

    /// How many handles were traded so far.
    pub fn trades(&self) -> u64 {
        self.trades.load(Ordering::Relaxed)
    }

    /// How many pins of a domain's pages are not given back.
    pub fn pins(&self, domain: DomainId) -> u32 {
        let of_domain = |number: u64| number >> DOMAIN_SHIFT == u64::from(domain.0) + 1;
        self.pins.lock().iter().filter(|(number, _)| of_domain(**number)).map(|(_, count)| count).sum()
    }

    /// A guest writes now.
    pub fn scribble(&self, Scribble { domain, gfn, index, value }: Scribble) {
        let page = usize::try_from(gfn).ok().and_then(|gfn| self.domains.get(usize::from(domain.0))?.get(gfn));
        let Some(page) = page else { return };
        let word = &page.0[index / 2 % WORDS];
        let shift = 32 * (index % 2);
        let kept = word.load(Ordering::Relaxed) & !(u64::from(u32::MAX) << shift);
        word.store(kept | u64::from(value) << shift, Ordering::Relaxed);
    }

    /// A guest writes after so many more trades of handles.
    pub fn scribble_after(&self, trades: u32, scribble: Scribble) {
        self.to_come.lock().push_back((trades, scribble));
    }

    /// A number for the contents of a domain's pages, some words left out: (frame, first word, one more than the last), in
    /// words of 64 bits.
    pub fn digest(&self, domain: DomainId, left_out: &[(usize, usize, usize)]) -> u64 {
        let mut digest = 0_u64;
        for (gfn, page) in self.domains[usize::from(domain.0)].iter().enumerate() {
            for (at, word) in page.0.iter().enumerate() {
                let is_left_out = left_out.iter().any(|(frame, from, to)| *frame == gfn && (*from..*to).contains(&at));
                if !is_left_out {
                    // Each step can be undone, so that no single change is without effect.
                    digest = (digest ^ word.load(Ordering::Relaxed)).wrapping_mul(ODD).rotate_left(29);
                }
            }
        }
        digest
    }

    fn let_guests_write(&self) {
        let mut to_come = self.to_come.lock();
        let Some((left, scribble)) = to_come.front_mut() else { return };
        if *left > 0 {
            *left -= 1;
        } else {
            self.scribble(*scribble);
            to_come.pop_front();
        }
    }

    fn trade<T: Shared>(&self, number: u64) -> Option<&T> {
        let domain = usize::try_from(number >> DOMAIN_SHIFT).ok()?.checked_sub(1)?;
        let gfn = usize::try_from(number >> GFN_SHIFT & GFN_MASK).ok()?;
        let offset = usize::try_from(number & OFFSET_MASK).ok()?;
        let page = self.domains.get(domain)?.get(gfn)?;
        if offset > size_of::<Page>() - size_of::<T>() || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        let layout = ptr::from_ref(&page.0).cast::<u8>().wrapping_add(offset).cast::<T>();
        // SAFETY: the structure lies inside the page and is aligned, as was just checked, and lives as long as the page. Its
        // type is one of the layouts of hypervisor-abi, whose fields are all atomics for which every value is valid; what
        // lies there is reached through atomics only, by one thread.
        Some(unsafe { &*layout })
    }
}

const DOMAIN_SHIFT: u32 = 48;
const GFN_SHIFT: u32 = 12;
const GFN_MASK: u64 = (1 << (DOMAIN_SHIFT - GFN_SHIFT)) - 1;
const OFFSET_MASK: u64 = (1 << GFN_SHIFT) - 1;

fn number_of<T: Shared>(domain: DomainId, place: GuestPlace) -> Option<NonZeroU64> {
    if !place.fits(T::SIZE) || place.gfn > GFN_MASK {
        return None;
    }
    NonZeroU64::new((u64::from(domain.0) + 1) << DOMAIN_SHIFT | place.gfn << GFN_SHIFT | u64::from(place.offset))
}

impl GuestMemory for OverlaidMemory {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        let number = number_of::<T>(domain, place).filter(|number| self.trade::<T>(number.get()).is_some());
        let number = number.ok_or(PinError::NotMemory { domain, place })?;
        *self.pins.lock().entry(number.get()).or_default() += 1;
        Ok(Pinned::new(number))
    }

    fn unpin<T: Shared>(&self, pinned: Pinned<T>) {
        let mut pins = self.pins.lock();
        let count = pins.get_mut(&pinned.number().get()).filter(|count| **count > 0);
        *count.expect("only what is pinned is given back") -= 1;
    }

    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        self.trades.fetch_add(1, Ordering::Relaxed);
        self.let_guests_write();
        let number = pinned.number().get();
        let pins = self.pins.lock().get(&number).copied().unwrap_or(0);
        assert!(pins > 0, "a handle was used after it was given back");
        self.trade(number)
    }
}

impl View for OverlaidMemory {
    fn view<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> &T {
        let number = number_of::<T>(domain, place).expect("a place of the domain");
        self.trade(number.get()).expect("a place of the domain")
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::DomainId;
    use hypervisor_abi::event::ControlBlock;
    use hypervisor_abi::event::EventArray;
    use hypervisor_abi::sync::Ordering;
    use hypervisor_lib::event::GuestMemory;
    use hypervisor_lib::event::GuestPlace;

    use super::OverlaidMemory;
    use super::Scribble;
    use crate::world::View;

    const D1: DomainId = DomainId(1);

    #[test]
    fn structures_at_one_place_lie_over_each_other() {
        let memory = OverlaidMemory::new(2, 2);
        let place = GuestPlace { gfn: 1, offset: 8 };
        let (block, array): (&ControlBlock, &EventArray) =
            (memory.view(D1, place), memory.view(D1, GuestPlace::frame(1)));
        block.ready.store(7, Ordering::Relaxed);
        assert_eq!(array.0[2].0.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_place_outside_the_pages_or_unaligned_is_no_memory() {
        let memory = OverlaidMemory::new(2, 2);
        for place in [GuestPlace::frame(2), GuestPlace::frame(u64::MAX), GuestPlace { gfn: 1, offset: 2 }] {
            assert!(memory.pin::<ControlBlock>(D1, place).is_err(), "{place}");
        }
        assert!(memory.pin::<ControlBlock>(DomainId(2), GuestPlace::frame(0)).is_err());
    }

    #[test]
    #[should_panic(expected = "after it was given back")]
    fn a_handle_that_was_given_back_must_not_be_used() {
        let memory = OverlaidMemory::new(2, 2);
        let pinned = memory.pin::<ControlBlock>(D1, GuestPlace::frame(0)).expect("memory");
        memory.unpin(pinned);
        let _ = memory.get(pinned);
    }

    #[test]
    fn a_scribble_lands_between_trades_and_shows_in_the_digest() {
        let memory = OverlaidMemory::new(2, 2);
        let pinned = memory.pin::<ControlBlock>(D1, GuestPlace::frame(0)).expect("memory");
        let (clean, others) = (memory.digest(D1, &[]), memory.digest(DomainId(0), &[]));
        memory.scribble_after(1, Scribble { domain: D1, gfn: 0, index: 0, value: 9 });
        let seen: Vec<u32> = (0..2).filter_map(|_| Some(memory.get(pinned)?.ready.load(Ordering::Relaxed))).collect();
        assert_eq!(seen, [0, 9]);
        assert_ne!(memory.digest(D1, &[]), clean);
        assert_eq!(memory.digest(D1, &[(0, 0, 1)]), clean);
        assert_eq!(memory.digest(DomainId(0), &[]), others);
    }
}
