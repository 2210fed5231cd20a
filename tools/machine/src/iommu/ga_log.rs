//! The IOMMU's side of the guest-APIC log: registers, the ring it writes, overflow (48882, 2.2.5.4 and 3.4).

use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaLogControl;
use hypervisor_abi::amd_iommu::GaLogEntry;
use hypervisor_abi::amd_iommu::GaLogStatus;
use hypervisor_abi::sync::Ordering;

/// How many bytes an entry has.
const ENTRY_BYTES: u32 = 8;

/// The registers of the log. The ring itself is the host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaLogUnit {
    control: GaLogControl,
    status: GaLogStatus,
    head: u32,
    tail: u32,
}

/// What has come of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Logged {
    /// It is written, or lost, and the IOMMU's interrupt is due.
    Interrupt,
    /// Nobody is interrupted: that is not enabled, or its status bit is still set; or the log does not run.
    Silent,
}

impl Default for GaLogUnit {
    /// Off and empty.
    fn default() -> Self {
        Self { control: GaLogControl::new(), status: GaLogStatus::new(), head: 0, tail: 0 }
    }
}

impl GaLogUnit {
    /// The status register.
    #[must_use]
    pub const fn status(&self) -> GaLogStatus {
        self.status
    }

    /// The tail register, in bytes: where the next entry goes.
    #[must_use]
    pub const fn tail(&self) -> u32 {
        self.tail
    }

    /// The head register, in bytes: what software has not read yet.
    #[must_use]
    pub const fn head(&self) -> u32 {
        self.head
    }

    /// Writes the bits of the control register. A log that is switched on runs, unless its overflow has not been cleared;
    /// head and tail stay.
    pub fn write_control(&mut self, control: GaLogControl) {
        self.control = control;
        self.status.set_runs(control.log_enable() && !self.status.has_overflowed());
    }

    /// Writes the status register: bits that are set clear theirs, but for the one that says that the log runs.
    pub fn write_status(&mut self, cleared: GaLogStatus) {
        self.status.set_has_overflowed(self.status.has_overflowed() && !cleared.has_overflowed());
        self.status.set_interrupt(self.status.interrupt() && !cleared.interrupt());
    }

    /// Writes the head register, in bytes: entries before it are software's no more.
    pub const fn write_head(&mut self, head: u32) {
        self.head = head & !(ENTRY_BYTES - 1);
    }

    /// Writes an entry to the ring. It is full with one place left, since head and tail of an empty one are equal; what finds
    /// it full is lost, and the log stops.
    pub(super) fn write(&mut self, entry: GaLogEntry, ring: &[GaLogCell]) -> Logged {
        if !self.status.runs() {
            return Logged::Silent;
        }
        let bytes = u32::try_from(ring.len()).map_or(0, |entries| entries.saturating_mul(ENTRY_BYTES));
        let next = self.tail.saturating_add(ENTRY_BYTES);
        let next = if next < bytes { next } else { 0 };
        match ring.get((self.tail / ENTRY_BYTES) as usize) {
            Some(cell) if next != self.head => {
                cell.0.store(entry.into(), Ordering::SeqCst);
                self.tail = next;
            }
            _ => {
                self.status.set_has_overflowed(true);
                self.status.set_runs(false);
            }
        }
        let was_set = self.status.interrupt();
        self.status.set_interrupt(true);
        if self.control.interrupt_enable() && !was_set { Logged::Interrupt } else { Logged::Silent }
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::amd_iommu::GaLogCell;
    use hypervisor_abi::amd_iommu::GaLogControl;
    use hypervisor_abi::amd_iommu::GaLogEntry;
    use hypervisor_abi::amd_iommu::GaLogStatus;
    use hypervisor_abi::amd_iommu::GaTag;
    use hypervisor_abi::sync::Ordering;

    use super::GaLogUnit;
    use super::Logged;

    const ON: GaLogControl = GaLogControl::new().with_log_enable(true).with_interrupt_enable(true);

    fn entry(tag: u32) -> GaLogEntry {
        GaLogEntry::new().with_tag(GaTag(tag)).with_kind(1)
    }

    #[test]
    fn a_ring_of_four_takes_three_entries_and_loses_the_fourth() {
        let (mut log, ring) = (GaLogUnit::default(), [const { GaLogCell(hypervisor_abi::sync::AtomicU64::new(0)) }; 4]);
        assert_eq!(log.write(entry(1), &ring), Logged::Silent, "it is off");
        log.write_control(ON);
        assert!(log.status().runs());
        assert_eq!(log.write(entry(1), &ring), Logged::Interrupt);
        assert_eq!(log.write(entry(2), &ring), Logged::Silent, "the status bit is still set");
        log.write_status(GaLogStatus::new().with_interrupt(true));
        assert_eq!(log.write(entry(3), &ring), Logged::Interrupt);
        assert!(!log.status().has_overflowed());
        log.write(entry(4), &ring);
        assert!(log.status().has_overflowed() && !log.status().runs());
        assert_eq!(log.tail(), 24);
        let tags = ring.each_ref().map(|cell| GaLogEntry::from(cell.0.load(Ordering::Relaxed)).tag().0);
        assert_eq!(tags, [1, 2, 3, 0]);
    }

    #[test]
    fn a_log_that_has_overflowed_runs_again_only_when_that_is_cleared() {
        let (mut log, ring) = (GaLogUnit::default(), [const { GaLogCell(hypervisor_abi::sync::AtomicU64::new(0)) }; 2]);
        log.write_control(ON);
        log.write(entry(1), &ring);
        log.write(entry(2), &ring);
        log.write_control(ON);
        assert!(!log.status().runs());
        log.write_control(GaLogControl::new());
        log.write_status(GaLogStatus::new().with_has_overflowed(true).with_runs(true));
        log.write_head(log.tail());
        log.write_control(ON);
        assert!(log.status().runs() && !log.status().has_overflowed());
        log.write(entry(3), &ring);
        assert_eq!((log.tail(), GaLogEntry::from(ring[1].0.load(Ordering::Relaxed)).tag()), (0, GaTag(3)));
    }
}
