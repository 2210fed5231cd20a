//! The hypervisor's side of event channels: ports, both ABIs' producers, upcalls, save and restore.
//!
//! ```text
//! guest hypercall ─► Domain ─┬─ ports (slot, table): what is bound to what
//!                            ├─ pending (two_level | fifo): bits, words and queues in the guest's pages
//!                            └─ upcall (callback): evtchn_upcall_pending 0→1, then one Action for the hypervisor
//! ```
//!
//! **Guest pages** are reached by handles that are traded for references to structures of atomics; see
//! [`GuestMemory`]. This core holds no pointer and no unsafe code.
//!
//! **Locks.** The user chooses their type by [`Host::Lock`]. They are taken in this order, never the other way:
//!
//! | | lock | guards | held |
//! |---|---|---|---|
//! | 1 | event lock, one a domain; two by ascending number | which ports are open, which pages are pinned | by opening, closing, setting up |
//! | 2 | port lock, one a port; two by domain and port | what the port is bound to | by a sender on its own port; by closing on both ends |
//! | 3 | queue lock, one a vCPU and priority; two by rank | the queue's tail | while a port is put into the queue |
//! | 4 | callback line, one a domain | the line's level | while the line is driven |
//!
//! A sender takes 2 of its own port and 3; each is held for a bounded number of steps, and nothing a guest does makes it
//! longer. What a sender reads without a lock (a port's page of slots, a vCPU's block, the route) is published by a single
//! word.

mod callback;
mod check;
mod close;
mod deliver;
mod domain;
mod error;
mod fifo;
mod heap_memory;
mod host;
mod hypercall;
mod memory;
mod open;
mod pirq;
mod poll;
mod send;
mod slot;
mod status;
mod table;
mod time;
mod two_level;
mod vcpu;
mod virq;

pub use check::BrokenInvariant;
pub use close::ResetStep;
pub use domain::Domain;
pub use domain::DomainConfig;
pub use domain::DomainError;
pub use domain::EventAbi;
pub use domain::Privilege;
pub use domain::WordSize;
pub use error::EventError;
pub use heap_memory::HeapMemory;
pub use host::Action;
pub use host::CallbackLine;
pub use host::Host;
pub use host::Level;
pub use host::Sharing;
pub use hypercall::EventCall;
pub use memory::GuestMemory;
pub use memory::GuestPlace;
pub use memory::PinError;
pub use memory::Pinned;
pub use pirq::EoiNeed;
pub use pirq::EoiUnmask;
pub use pirq::pirq_of_msi;
pub use poll::MAX_POLL_PORTS;
pub use poll::Poll;
pub use slot::Binding;
pub use slot::ConsumerId;
pub use slot::MAX_PIRQS;
pub use slot::MAX_VCPUS;
pub use status::PortBits;
pub use status::PortStatus;
pub use time::VcpuTime;
pub use virq::VirqHandlers;
pub use virq::send_global_virq;
