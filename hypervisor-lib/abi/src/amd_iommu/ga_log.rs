//! The guest-APIC log: interrupts the IOMMU has put into the backing page of a vCPU that does not run.

use bitfield_struct::bitfield;

use super::GaTag;
use crate::sync::AtomicU64;

/// How many entries the log has when it takes one page, the least there is.
pub const GA_LOG_ENTRIES: usize = 512;

/// The kind of an entry that says an interrupt waits for its vCPU.
pub const KIND_GUEST_INTERRUPT: u8 = 1;

/// The register that holds the log's place, in bytes into the IOMMU's registers.
pub const MMIO_GA_LOG_BASE: u32 = 0xe0;

/// The register that holds where the IOMMU writes its tail to.
pub const MMIO_GA_LOG_TAIL_ADDRESS: u32 = 0xe8;

/// The value of an entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct GaLogEntry {
    /// The vCPU's tag, out of its remapping entry.
    #[bits(32, default = GaTag(0))]
    pub tag: GaTag,
    /// The device: bus, device and function.
    pub device: u16,
    #[bits(12)]
    __: u16,
    /// What happened; [`KIND_GUEST_INTERRUPT`] is the only kind there is.
    #[bits(4)]
    pub kind: u8,
}

/// The cell an entry is in; the IOMMU writes it.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct GaLogCell(pub AtomicU64);

/// The bits of the status register that concern the log. Overflow and interrupt are cleared by writing them.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GaLogStatus {
    __: u8,
    /// The log runs.
    pub runs: bool,
    /// An entry found no room: it is lost, and logging has stopped.
    pub has_overflowed: bool,
    /// Something has been logged since the bit was cleared.
    pub interrupt: bool,
    #[bits(21)]
    __: u32,
}

/// The bits of the control register that concern the log.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct GaLogControl {
    #[bits(28)]
    __: u32,
    /// Interrupts for vCPUs that do not run are logged.
    pub log_enable: bool,
    /// The IOMMU interrupts when it has logged something.
    pub interrupt_enable: bool,
    #[bits(34)]
    __: u64,
}

#[cfg(test)]
mod tests {
    use super::GA_LOG_ENTRIES;
    use super::GaLogCell;
    use super::GaLogControl;
    use super::GaLogEntry;
    use super::GaLogStatus;
    use super::GaTag;
    use crate::page::PAGE_SIZE;

    #[test]
    fn fields_lie_where_the_specification_draws_them() {
        let entry = GaLogEntry::from(0x1000_0310_0000_2003);
        assert_eq!((entry.tag(), entry.device(), entry.kind()), (GaTag(0x2003), 0x310, 1));
        assert_eq!(size_of::<[GaLogCell; GA_LOG_ENTRIES]>(), PAGE_SIZE);
        assert_eq!(u32::from(GaLogStatus::new().with_runs(true)), 1 << 8);
        assert_eq!(u32::from(GaLogStatus::new().with_has_overflowed(true)), 1 << 9);
        assert_eq!(u32::from(GaLogStatus::new().with_interrupt(true)), 1 << 10);
        assert_eq!(u64::from(GaLogControl::new().with_log_enable(true)), 1 << 28);
        assert_eq!(u64::from(GaLogControl::new().with_interrupt_enable(true)), 1 << 29);
    }
}
