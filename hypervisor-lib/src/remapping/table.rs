//! The remapping table of an IOMMU: whose entries are, what is written to them, and what the IOMMU must forget.
//!
//! **Order.** Stores first; then, if the IOMMU may have cached what was there, the invalidation; then the wait for it. Until
//! that is over requests may still go by the old entry: a host vector it named stays taken, a descriptor it named stays in
//! place, and an index that is given back is not given out (R-42: XSA-36, CVE-2013-0153).

use alloc::boxed::Box;
use alloc::vec;

use hypervisor_abi::DomainId;
use hypervisor_abi::vtd::Irte;

use super::form::Delivery;
use super::form::PostingRefusal;
use super::form::Remapped;
use super::form::VtdUnit;
use super::source::RequesterId;
use super::source::SourceCheck;
use super::update::EntryStore;
use super::update::Torn;
use super::update::Traffic;
use super::update::write_order;

/// The hypervisor around the table. Its method must not call back.
pub trait RemappingHost {
    /// Carries out what an operation asks for, before it returns.
    fn act(&self, action: RemappingAction);
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemappingAction {
    /// Store to an entry; the IOMMU can see it when this returns (which takes a cache-line flush where ECAP.C is clear).
    Store(u16, EntryStore),
    /// Queue a request to forget an entry ([`EntryInvalidation`](hypervisor_abi::vtd::EntryInvalidation)).
    Invalidate(u16),
    /// Queue a wait ([`InvalidationWait`](hypervisor_abi::vtd::InvalidationWait)), and return once it is done: no request goes
    /// by an old entry any more.
    AwaitInvalidation,
}

/// A request that is not remapped: the IOMMU blocks it and reports a fault (VT-d specification, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RemapFault {
    /// Beyond the table: fault 21h.
    #[error("index {0} is beyond the table")]
    BeyondTable(u16),
    /// No interrupt has this entry: fault 22h.
    #[error("entry {0} is not present")]
    NotPresent(u16),
    /// The entry is another device's: fault 26h.
    #[error("entry {0} does not answer requests of {1:?}")]
    WrongSource(u16, RequesterId),
}

/// A table that cannot be, or has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The IOMMU cannot be told what to remap, or what to forget of it.
    #[error("the IOMMU does not remap interrupts, or has no invalidation queue")]
    NoRemapping,
    /// No entries are asked for.
    #[error("no entries are asked for")]
    Nothing,
    /// No entries are free that follow each other.
    #[error("no {0} entries are free that follow each other")]
    Full(u16),
}

/// An entry that cannot be changed as asked; it is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// Nobody has claimed it.
    #[error("entry {0} is nobody's")]
    Unclaimed(u16),
    /// It is not to be posted.
    #[error("entry {0} cannot be posted")]
    Refused(u16, #[source] PostingRefusal),
    /// The IOMMU could see half of it.
    #[error("entry {0} cannot be replaced at once")]
    Torn(u16, #[source] Torn),
}

/// A table of entries, and what has been written to each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VtdTable {
    unit: VtdUnit,
    entries: Box<[Option<Claimed>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claimed {
    owner: DomainId,
    source: SourceCheck,
    entry: Irte,
}

impl VtdTable {
    /// An empty table, all zeros.
    ///
    /// # Errors
    /// [`TableError::NoRemapping`].
    pub fn new(unit: VtdUnit, entries: u16) -> Result<Self, TableError> {
        if !unit.extended.remaps() || !unit.extended.queues_invalidations() {
            return Err(TableError::NoRemapping);
        }
        Ok(Self { unit, entries: vec![None; usize::from(entries)].into_boxed_slice() })
    }

    /// Gives a device's interrupts free entries that follow each other, the first at a multiple of their number as several
    /// messages of MSI need; its index. They are absent until [`deliver`](Self::deliver).
    ///
    /// # Errors
    /// [`TableError::Nothing`] and [`TableError::Full`].
    pub fn claim(&mut self, owner: DomainId, source: SourceCheck, count: u16) -> Result<u16, TableError> {
        if count == 0 {
            return Err(TableError::Nothing);
        }
        let length = usize::from(count).next_power_of_two();
        let mut blocks = self.entries.chunks_exact_mut(length).zip(0..);
        let free = blocks.find(|(block, _)| block.iter().all(Option::is_none));
        let (block, at) = free.ok_or(TableError::Full(count))?;
        block[..usize::from(count)].fill(Some(Claimed { owner, source, entry: Irte::ABSENT }));
        u16::try_from(at * length).map_err(|_| TableError::Full(count))
    }

    /// Writes what an entry makes of its device's requests, which may come meanwhile. When this returns all go by the new one.
    ///
    /// # Errors
    /// [`DeliverError`]; then nothing has been written.
    pub fn deliver(&mut self, index: u16, delivery: Delivery, host: &impl RemappingHost) -> Result<(), DeliverError> {
        if let Delivery::Vcpu { engine, .. } = delivery {
            self.unit.may_post_to(engine).map_err(|refusal| DeliverError::Refused(index, refusal))?;
        }
        let source = self.claimed(index).ok_or(DeliverError::Unclaimed(index))?.source;
        self.replace(index, delivery.entry(source), host).map_err(|torn| DeliverError::Torn(index, torn))
    }

    /// Clears a device's entry and gives it back: what the device still sends is blocked when this returns.
    ///
    /// # Errors
    /// [`DeliverError::Unclaimed`].
    pub fn release(&mut self, index: u16, host: &impl RemappingHost) -> Result<(), DeliverError> {
        self.claimed(index).ok_or(DeliverError::Unclaimed(index))?;
        let cleared = self.replace(index, Irte::ABSENT, host);
        cleared.map_err(|torn| DeliverError::Torn(index, torn))?;
        self.entries[usize::from(index)] = None;
        Ok(())
    }

    /// Whose an entry is.
    #[must_use]
    pub fn owner(&self, index: u16) -> Option<DomainId> {
        self.claimed(index).map(|claimed| claimed.owner)
    }

    /// What a request becomes by what is written.
    ///
    /// # Errors
    /// [`RemapFault`].
    pub fn remap(&self, index: u16, requester: RequesterId) -> Result<Remapped, RemapFault> {
        let claimed = self.entries.get(usize::from(index)).ok_or(RemapFault::BeyondTable(index))?;
        let claimed = claimed.filter(|claimed| claimed.entry.is_present()).ok_or(RemapFault::NotPresent(index))?;
        if claimed.source.accepts(requester) {
            Ok(Remapped::by(claimed.entry))
        } else {
            Err(RemapFault::WrongSource(index, requester))
        }
    }

    fn claimed(&self, index: u16) -> Option<Claimed> {
        self.entries.get(usize::from(index)).copied().flatten()
    }

    fn replace(&mut self, index: u16, to: Irte, host: &impl RemappingHost) -> Result<(), Torn> {
        let Some(claimed) = self.entries.get_mut(usize::from(index)).and_then(Option::as_mut) else { return Ok(()) };
        let from = core::mem::replace(&mut claimed.entry, to);
        let stores = match write_order(from, to, self.unit.store, Traffic::Live) {
            Ok(stores) => stores,
            Err(torn) => {
                claimed.entry = from;
                return Err(torn);
            }
        };
        let may_be_cached = from.is_present() || self.unit.capabilities.caches_absent();
        let is_changed = !stores.is_empty();
        stores.into_iter().for_each(|store| host.act(RemappingAction::Store(index, store)));
        if is_changed && may_be_cached {
            host.act(RemappingAction::Invalidate(index));
            host.act(RemappingAction::AwaitInvalidation);
        }
        Ok(())
    }
}
