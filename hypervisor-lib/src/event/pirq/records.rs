//! Which numbers stand for what, and which are free (`get_free_pirq`, `allocate_pirq`; `xen/arch/x86/irq.c`).

use alloc::collections::BTreeMap;

use hypervisor_abi::physdev::MAP_PIRQ_TYPE_GSI;
use lock_api::RawMutex;

use super::Interrupts;
use super::Mapping;
use super::MessageSource;
use super::PirqError;
use super::Pirqs;
use super::Use;
use super::assign::Assigned;
use crate::event::domain::Domain;
use crate::event::domain::Structure;

/// The lowest number a line gets by itself: those below are ISA's.
const FIRST_FREE_LINE: u32 = 16;

/// What the event lock guards about physical IRQs.
#[derive(Debug, Default)]
pub(crate) struct PirqRecords {
    /// Which number each host IRQ is behind.
    by_irq: BTreeMap<u32, u32>,
    /// The messages of a device, by the first's number.
    pub(super) blocks: BTreeMap<u32, Block>,
    pub(super) assigned: BTreeMap<u32, Assigned>,
}

/// Messages with consecutive numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) source: MessageSource,
    pub(super) count: u32,
}

impl PirqRecords {
    /// An IRQ that is said to be behind a number and is not, or the other way round.
    pub(crate) fn stray_irq(&self, pirqs: &Pirqs) -> Option<u32> {
        let behind = |pirq| match pirqs.mapping(pirq) {
            Mapping::Irq(irq) | Mapping::Dying(irq) => Some(irq),
            Mapping::None | Mapping::Reserved => None,
        };
        let unknown = (0..pirqs.count()).filter_map(behind).find(|irq| !self.by_irq.contains_key(irq));
        let mut known = self.by_irq.iter();
        unknown.or_else(|| known.find(|(irq, pirq)| behind(**pirq) != Some(**irq)).map(|(irq, _)| *irq))
    }

    /// The first of the block a number is in.
    pub(super) fn block_of(&self, pirq: u32) -> Option<(u32, Block)> {
        let (first, block) = self.blocks.range(..=pirq).next_back()?;
        (pirq - first < block.count).then_some((*first, *block))
    }
}

impl<L: RawMutex> Domain<L> {
    /// What is behind a physical IRQ.
    pub fn pirq_mapping(&self, pirq: u32) -> Mapping {
        self.pirqs.mapping(pirq)
    }

    /// How the guest uses a physical IRQ.
    pub fn pirq_use(&self, pirq: u32) -> Use {
        self.pirqs.usage(pirq)
    }

    /// Takes a free number (`PHYSDEVOP_get_free_pirq`), for a message that is to be composed with it.
    pub(super) fn reserve_pirq<H: Interrupts>(&self, host: &H, kind: i32) -> Result<u32, PirqError> {
        let _structure = self.lock_alive()?;
        let pirq = self.find_free_pirq(host, kind)?;
        self.pirqs.set_mapping(pirq, Mapping::Reserved);
        Ok(pirq)
    }

    /// Lines get the lowest free number that is a line's, everything else the highest.
    pub(super) fn find_free_pirq<H: Interrupts>(&self, host: &H, kind: i32) -> Result<u32, PirqError> {
        let (lines, count) = (host.lines(), self.pirqs.count());
        let low = if kind == MAP_PIRQ_TYPE_GSI { FIRST_FREE_LINE..lines.min(count) } else { 0..0 };
        let mut numbers = low.chain((lines..count).rev());
        numbers.find(|pirq| self.pirqs.is_free(*pirq)).ok_or(PirqError::NoFree(self.id))
    }

    /// The highest free numbers that follow each other; the lowest of them.
    pub(super) fn find_free_block<H: Interrupts>(&self, host: &H, length: u32) -> Option<u32> {
        let mut found = 0;
        (host.lines()..self.pirqs.count()).rev().find(|pirq| {
            found = if self.pirqs.is_free(*pirq) { found + 1 } else { 0 };
            found == length
        })
    }

    /// Which number an IRQ is to get (`allocate_pirq`); below 0 means any.
    pub(super) fn choose_pirq(
        &self,
        structure: &Structure,
        wanted: i32,
        irq: u32,
        find_free: impl FnOnce() -> Result<u32, PirqError>,
    ) -> Result<u32, PirqError> {
        let current = structure.pirqs.by_irq.get(&irq).copied();
        match (u32::try_from(wanted), current) {
            (Err(_), None) => find_free(),
            (Err(_), Some(pirq)) if matches!(self.pirqs.mapping(pirq), Mapping::Dying(_)) => {
                Err(PirqError::StillBound(self.id, irq))
            }
            (Err(_), Some(pirq)) => Ok(pirq),
            (Ok(wanted), Some(pirq)) if wanted != pirq => Err(PirqError::MappedElsewhere(self.id, irq)),
            (Ok(wanted), _) => Ok(wanted),
        }
    }

    /// Whether a number can get something behind it.
    pub(super) fn may_be_behind(&self, pirq: u32) -> bool {
        self.pirqs.has(pirq) && matches!(self.pirqs.mapping(pirq), Mapping::None | Mapping::Reserved)
    }

    /// Puts an IRQ behind a number, or takes it away.
    pub(super) fn set_behind(&self, structure: &mut Structure, pirq: u32, mapping: Mapping) {
        if let Mapping::Irq(irq) | Mapping::Dying(irq) = self.pirqs.mapping(pirq) {
            structure.pirqs.by_irq.remove(&irq);
        }
        if let Mapping::Irq(irq) | Mapping::Dying(irq) = mapping {
            structure.pirqs.by_irq.insert(irq, pirq);
        }
        self.pirqs.set_mapping(pirq, mapping);
    }
}

/// A number in the field of an argument, which is signed; no number here is beyond 2³⁰.
pub(super) fn as_argument(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
