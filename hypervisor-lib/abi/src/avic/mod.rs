//! AMD's advanced virtual interrupt controller, AVIC: what processor, IOMMU and hypervisor share (APM vol. 2, 15.29).
//!
//! A vCPU's local APIC is a page of registers, the [`BackingPage`]. Two tables say whose is whose: the physical APIC-ID table
//! has a [`PhysicalEntry`] for every vCPU, the logical one a [`LogicalEntry`] for every logical ID in xAPIC mode. What the
//! processor cannot do itself it reports by two exits, [`IncompleteIpi`] and [`NoAcceleration`].

mod control;
mod exit;
mod page;
mod table;

pub use control::InterruptControl;
pub use control::MSR_DOORBELL;
pub use control::PhysicalTablePointer;
pub use control::TlbControl;
pub use exit::AccessKind;
pub use exit::EXIT_INCOMPLETE_IPI;
pub use exit::EXIT_NO_ACCELERATION;
pub use exit::IncompleteIpi;
pub use exit::IpiFailure;
pub use exit::NoAcceleration;
pub use page::BackingPage;
pub use page::RegisterSlot;
pub use page::VectorBits;
pub use table::HostApicId;
pub use table::LOGICAL_TABLE_ENTRIES;
pub use table::LogicalCell;
pub use table::LogicalEntry;
pub use table::NoHostApicId;
pub use table::PhysicalCell;
pub use table::PhysicalEntry;
