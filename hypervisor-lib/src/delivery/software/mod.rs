//! The software engine: a complete local APIC, where every access of the guest comes here.
//!
//! ```text
//!                 IA32_APIC_BASE                         SVR bit 8
//!  ┌──────────┐  EN=1   ┌───────┐  EXTD=1  ┌────────┐
//!  │ disabled ├────────►│ xAPIC ├─────────►│ x2APIC │    software-disabled ◄──► software-enabled
//!  │          │◄────────┤       │          │        │    takes NMI, SMI, INIT,  takes everything
//!  └──────────┘  EN=0   └───────┘          └───┬────┘    start-up; LVT masked
//!        ▲              reset comes here       │ EN=0
//!        └─────────────────────────────────────┘         INIT keeps the mode, and disables by software
//!
//!  Inbox ── sync ──► IRR ── acknowledge: class above PPR ──► ISR ── EOI ──► level-triggered: Action::EndOfInterrupt
//!  LVT, self-IPI ───► ▲                                                     (unless suppressed)
//! ```
//!
//! What it is: the registers, in both modes, with the faults of a real one; the local vector table, the timer, the pins;
//! the arbitration. What it is not: the processor's part. Whether NMIs are blocked, or the vCPU waits for a start-up, its
//! owner knows; it gets [`Action`](super::Action)s. Sources: SDM vol. 3A, chapter 11; where a choice is the processor's,
//! the function says so.

mod access;
mod base;
mod command;
mod error;
mod lending;
mod local_apic;
mod local_vectors;
mod page;
mod priority;
mod registers;
mod saved;
mod timer;

pub use access::AccessWidth;
pub use access::MmioFault;
pub use access::MsrFault;
pub use lending::IcrLayout;
pub(in crate::delivery) use lending::read;
pub use local_apic::ApicFeatures;
pub use local_apic::LocalApic;
pub use local_apic::LocalApicConfig;
pub use local_apic::ProcessorRole;
pub use local_vectors::Pin;
pub use page::ApicPage;
pub use page::REGISTER_SLOTS;
pub use priority::Acknowledged;
pub use saved::RestoreError;
pub use saved::SavedLocalApic;
