//! AMD's IOMMU where it delivers interrupts to guests: the guest-mode remapping entry and the guest-APIC log (AMD I/O
//! Virtualization Technology specification, 48882; names as in Linux's `drivers/iommu/amd/amd_iommu_types.h`).

mod ga_log;
mod irte;

pub use ga_log::GA_LOG_ENTRIES;
pub use ga_log::GaLogCell;
pub use ga_log::GaLogControl;
pub use ga_log::GaLogEntry;
pub use ga_log::GaLogStatus;
pub use ga_log::KIND_GUEST_INTERRUPT;
pub use ga_log::MMIO_GA_LOG_BASE;
pub use ga_log::MMIO_GA_LOG_TAIL_ADDRESS;
pub use irte::GaTag;
pub use irte::GuestIrteHigh;
pub use irte::GuestIrteLow;
pub use irte::Irte;
pub use irte::NoGaTag;
pub use irte::RemappedIrteLow;
