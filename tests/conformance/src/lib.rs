//! What every implementation of event channels does, whichever ABI its guests use: a suite over a [`Bed`], which is a
//! hypervisor with a few domains.
//!
//! What it is: functions that panic where the bed does something else than Xen. They need nothing but a way to issue
//! hypercalls, so that they run in a test of this repository's own hypervisor side and, the same ones, in a guest of real Xen.
//!
//! What it is not: a set of tests. Whoever has a bed names those it can run.
//!
//! Each function begins with a bed on which nothing is bound in the domains it uses.
#![no_std]
#![forbid(unsafe_code)]

mod bed;
mod caller;
mod connections;
mod interrupts;
mod limits;
mod masks;
mod queues;
mod refusals;
mod strangers;

pub use bed::Abi;
pub use bed::Bed;
pub use bed::ForeignVirqs;
pub use bed::Ports;
pub use bed::Who;
pub use connections::connections;
pub use connections::moves;
pub use connections::offers;
pub use connections::offers_for_others;
pub use interrupts::foreign_virqs;
pub use interrupts::global_virqs;
pub use interrupts::interrupts;
pub use interrupts::pirqs;
pub use limits::limits;
pub use limits::reset;
pub use masks::masks;
pub use queues::queues;
pub use refusals::refusals;
pub use strangers::strangers;
