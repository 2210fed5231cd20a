//! Intel's APIC virtualization, as rules: which accesses the processor completes by itself, and which reach the hypervisor.
//!
//! ```text
//!  access of the guest ─┬─ page (xAPIC)  ─► table ─┬─► virtualized: the virtual-APIC page is read, or written and acted upon
//!                       │                          ├─► APIC-write exit, after the write (trap-like)
//!                       │                          └─► APIC-access exit, before it (fault-like)
//!                       └─ MSR (x2APIC) ─► bitmap ─┬─► intercepted: an MSR exit
//!                                                  ├─► virtualized
//!                                                  └─► neither: it reaches the physical local APIC, which must never happen
//! ```
//!
//! What the processor does depends on its [controls](ApicvControls), which are [checked](ApicvControls::check) as a VM entry
//! would. [`TABLE`] is the data; everything else reads it. [`EoiExitBitmap`] says which ends of interrupts come out.
//!
//! Sources: SDM vol. 3C, 26.2.1.1, 30.1–30.5.

mod controls;
mod eoi_exit;
mod msr;
mod page;

pub use controls::ApicvControls;
pub use controls::Control;
pub use controls::EntryFault;
pub use eoi_exit::EoiExitBitmap;
pub use eoi_exit::NotRouted;
pub use msr::MsrIntercepts;
pub use msr::MsrRead;
pub use msr::MsrWrite;
pub use msr::read_msr;
pub use msr::write_msr;
pub use page::AfterWrite;
pub use page::Command;
pub use page::PageRead;
pub use page::PageWrite;
pub use page::Row;
pub use page::TABLE;
pub use page::Then;
pub use page::With;
pub use page::read_page;
pub use page::write_page;
