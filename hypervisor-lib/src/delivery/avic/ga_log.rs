//! The consumer of the guest-APIC log, by which the IOMMU tells of interrupts for vCPUs that do not run.
//!
//! ```text
//! IOMMU: IRR of the page ──► is_run? ──► doorbell
//!                               └ no ──► log? ──► entry at tail, tail += 8, interrupt ──► drain: tag ──► tell the vCPU
//!                                                 no room: overflow, logging stops ─────► restart, then tell them all
//! ```
//!
//! An entry says that *something* waits: several interrupts may have become one bit of the IRR, and the vCPU may have taken
//! it. So whoever is told looks at the IRR; nothing is counted.

use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaLogEntry;
use hypervisor_abi::amd_iommu::GaLogStatus;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::KIND_GUEST_INTERRUPT;
use hypervisor_abi::sync::Ordering;

/// How many bytes an entry takes in the registers that hold head and tail.
const ENTRY_BYTES: u32 = 8;

/// The log of one IOMMU, its reader's side.
#[derive(Debug)]
pub struct GaLog<'a> {
    cells: &'a [GaLogCell],
    head: usize,
}

/// What a round over the log has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// What the head register is to be set to, in bytes.
    pub head: u32,
    /// How many entries told of an interrupt.
    pub told: usize,
    /// How many were of a kind that this log does not have.
    pub unknown: usize,
    /// Whether entries are missing.
    pub completeness: Completeness,
}

/// Whether a log holds all there was to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Completeness {
    /// It does.
    Complete,
    /// It has overflowed. First take [`RESTART`], then tell every vCPU that a device delivers to: an interrupt that comes in
    /// between is logged again or seen by the vCPU.
    EntriesLost,
}

/// A step of restarting a log that has overflowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartStep {
    /// Clear the control register's bits for the log and its interrupt.
    Disable,
    /// Clear the status register's overflow bit by writing it.
    ClearOverflow,
    /// Set the head register to what the round has said.
    SetHead,
    /// Set the control register's bits again.
    Enable,
}

/// The steps of restarting a log, in order.
pub const RESTART: [RestartStep; 4] =
    [RestartStep::Disable, RestartStep::ClearOverflow, RestartStep::SetHead, RestartStep::Enable];

/// What a log refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GaLogError {
    /// The log has no entries, or so many that no register names them all.
    #[error("a log of {0} entries")]
    Size(usize),
    /// The tail is outside the log, or within an entry.
    #[error("tail {tail:#x} of a log of {bytes:#x} bytes")]
    Tail {
        /// What the register holds.
        tail: u32,
        /// How big the log is.
        bytes: u32,
    },
}

impl<'a> GaLog<'a> {
    /// The log in these cells, empty.
    ///
    /// # Errors
    /// [`GaLogError::Size`].
    pub const fn new(cells: &'a [GaLogCell]) -> Result<Self, GaLogError> {
        // The greatest the base register can name is 2^15 entries.
        if cells.is_empty() || cells.len() > 1 << 15 {
            return Err(GaLogError::Size(cells.len()));
        }
        Ok(Self { cells, head: 0 })
    }

    /// Takes every entry up to `tail`, in bytes, and calls `tell` for each that tells of an interrupt; the tag may be of a
    /// vCPU that is gone. At most one round of the log. The status register's interrupt bit is to be cleared before this, so
    /// that what is logged meanwhile interrupts again.
    ///
    /// # Errors
    /// [`GaLogError::Tail`]; nothing has been taken.
    pub fn drain(
        &mut self,
        tail: u32,
        status: GaLogStatus,
        mut tell: impl FnMut(GaTag),
    ) -> Result<Drained, GaLogError> {
        let tail = self.position(tail)?;
        let (mut told, mut unknown) = (0, 0);
        while self.head != tail {
            let entry = GaLogEntry::from(self.cells[self.head].0.load(Ordering::Acquire));
            if entry.kind() == KIND_GUEST_INTERRUPT {
                told += 1;
                tell(entry.tag());
            } else {
                unknown += 1;
            }
            self.head = (self.head + 1) % self.cells.len();
        }
        let completeness = if status.has_overflowed() { Completeness::EntriesLost } else { Completeness::Complete };
        Ok(Drained { head: Self::bytes(self.head), told, unknown, completeness })
    }

    fn position(&self, tail: u32) -> Result<usize, GaLogError> {
        let bytes = Self::bytes(self.cells.len());
        if tail >= bytes || !tail.is_multiple_of(ENTRY_BYTES) {
            return Err(GaLogError::Tail { tail, bytes });
        }
        Ok((tail / ENTRY_BYTES) as usize)
    }

    fn bytes(entries: usize) -> u32 {
        u32::try_from(entries).map_or(u32::MAX, |entries| entries * ENTRY_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::amd_iommu::GaLogCell;
    use hypervisor_abi::amd_iommu::GaLogEntry;
    use hypervisor_abi::amd_iommu::GaLogStatus;
    use hypervisor_abi::amd_iommu::GaTag;
    use hypervisor_abi::sync::Ordering;

    use super::Completeness;
    use super::GaLog;
    use super::GaLogError;

    fn log(tags: &[u32]) -> Vec<GaLogCell> {
        let entry = |tag: &u32| GaLogEntry::new().with_tag(GaTag(*tag)).with_kind(1);
        tags.iter().map(|tag| GaLogCell(u64::from(entry(tag)).into())).collect()
    }

    fn drain(log: &mut GaLog<'_>, tail: u32) -> (Vec<u32>, u32) {
        let mut told = Vec::new();
        let drained = log.drain(tail, GaLogStatus::new(), |tag| told.push(tag.0)).expect("a tail within the log");
        assert_eq!((drained.told, drained.completeness), (told.len(), Completeness::Complete));
        (told, drained.head)
    }

    #[test]
    fn entries_are_taken_once_and_in_order_round_the_end() {
        let cells = log(&[10, 11, 12, 13]);
        let mut log = GaLog::new(&cells).expect("4 entries");
        assert_eq!(drain(&mut log, 0), (Vec::new(), 0));
        assert_eq!(drain(&mut log, 24), ([10, 11, 12].to_vec(), 24));
        assert_eq!(drain(&mut log, 24), (Vec::new(), 24));
        assert_eq!(drain(&mut log, 8), ([13, 10].to_vec(), 8));
    }

    #[test]
    fn a_tail_that_no_iommu_writes_is_refused_and_takes_nothing() {
        let cells = log(&[10, 11]);
        let mut log = GaLog::new(&cells).expect("2 entries");
        for tail in [16, 4, u32::MAX] {
            let refused = log.drain(tail, GaLogStatus::new(), |tag| panic!("told {tag:?}"));
            assert_eq!(refused, Err(GaLogError::Tail { tail, bytes: 16 }));
        }
        assert_eq!(drain(&mut log, 8), ([10].to_vec(), 8));
        assert_eq!(GaLog::new(&[]).err(), Some(GaLogError::Size(0)));
    }

    #[test]
    fn an_entry_of_another_kind_is_counted_and_tells_nobody() {
        let cells = log(&[10, 11]);
        cells[0].0.store(GaLogEntry::new().with_tag(GaTag(10)).with_kind(2).into(), Ordering::Relaxed);
        let mut log = GaLog::new(&cells).expect("2 entries");
        let drained = log.drain(8, GaLogStatus::new().with_has_overflowed(true), |tag| panic!("told {tag:?}"));
        let drained = drained.expect("a tail within the log");
        assert_eq!((drained.told, drained.unknown, drained.completeness), (0, 1, Completeness::EntriesLost));
    }
}
