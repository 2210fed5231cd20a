//! A domain's physical IRQs: the guest's own numbers for interrupts of real devices.
//!
//! ```text
//!  PHYSDEVOP_map_pirq          XEN_DOMCTL_bind_pt_irq                    the interrupt happens
//!  host IRQ ◄── cells ──► pirq ◄──────── assign ───► message or pins        │
//!                          │ EVTCHNOP_bind_pirq                            deliver ─┬─ the guest uses it as a pirq: an event
//!                          ▼                                                        ├─ a message: a vector of the guest's
//!                         port                                                      └─ pins: lines of the guest's
//! ```
//!
//! Three things can be true of a number at once: a host IRQ is behind it ([`Mapping`]); the guest uses it *as* a physical
//! IRQ, whatever is behind it, so that it becomes an event ([`Use`]); a toolstack has passed it through, so that it becomes a
//! vector or a line where the guest does not use it so ([`Assignment`]). The first two are words of their own, which senders
//! read without a lock; all three change under the event lock.
//!
//! What the public headers leave open was looked up in Xen: which file, says each item.

mod assign;
mod bind;
mod cells;
mod deliver;
mod eoi;
mod error;
mod hypercall;
mod interrupts;
mod line;
mod map;
mod message;
mod records;
mod several;
mod unmap;

pub(crate) use cells::Pirqs;
pub(crate) use records::PirqRecords;

pub use assign::Assignment;
pub use assign::GuestMessage;
pub use assign::GuestPin;
pub use cells::Mapping;
pub use cells::Use;
pub use deliver::Carried;
pub use eoi::EoiNeed;
pub use eoi::EoiUnmask;
pub use error::PirqError;
pub use hypercall::PhysdevCall;
pub use interrupts::Interrupts;
pub use interrupts::MessageError;
pub use interrupts::MessageSource;
pub use interrupts::Permission;
pub use line::LineWay;
pub use message::MessageWay;
pub use message::pirq_of_msi;
