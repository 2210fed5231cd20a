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
//!
//! **Example.** A hypervisor of two domains, of which one connects to the other and calls it:
//!
//! ```
//! use std::cell::RefCell;
//!
//! use hypervisor_abi::DomainId;
//! use hypervisor_abi::Errno;
//! use hypervisor_abi::Shared;
//! use hypervisor_abi::VcpuId;
//! use hypervisor_lib::event::Action;
//! use hypervisor_lib::event::Domain;
//! use hypervisor_lib::event::DomainConfig;
//! use hypervisor_lib::event::GuestMemory;
//! use hypervisor_lib::event::GuestPlace;
//! use hypervisor_lib::event::HeapMemory;
//! use hypervisor_lib::event::Host;
//! use hypervisor_lib::event::PinError;
//! use hypervisor_lib::event::Pinned;
//! use hypervisor_lib::event::Privilege;
//! use hypervisor_lib::event::Sharing;
//! use hypervisor_lib::event::VirqHandlers;
//! use hypervisor_lib::event::WordSize;
//! use hypervisor_lib::fabric::DomainKind;
//! use parking_lot::RawMutex;
//!
//! struct Hypervisor {
//!     memory: HeapMemory<RawMutex>,
//!     domains: Vec<Domain<RawMutex>>,
//!     handlers: VirqHandlers,
//!     asked: RefCell<Vec<Action>>,
//! }
//!
//! impl GuestMemory for Hypervisor {
//!     fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
//!         self.memory.pin(domain, place)
//!     }
//!     fn unpin<T: Shared>(&self, pinned: Pinned<T>) {
//!         self.memory.unpin(pinned)
//!     }
//!     fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
//!         self.memory.get(pinned)
//!     }
//! }
//!
//! impl Host for Hypervisor {
//!     type Lock = RawMutex;
//!     fn domain(&self, id: DomainId) -> Option<&Domain<RawMutex>> {
//!         self.domains.get(usize::from(id.0))
//!     }
//!     fn virq_handlers(&self) -> &VirqHandlers {
//!         &self.handlers
//!     }
//!     fn act(&self, action: Action) {
//!         self.asked.borrow_mut().push(action);
//!     }
//!     fn is_paused(&self, _: DomainId) -> bool {
//!         false
//!     }
//!     fn is_preempted(&self) -> bool {
//!         false
//!     }
//!     fn is_local_apic_enabled(&self, _: DomainId, _: VcpuId) -> bool {
//!         true
//!     }
//!     fn may_use_pirq(&self, _: DomainId, _: u32) -> bool {
//!         false
//!     }
//!     fn bind_pirq(&self, _: DomainId, _: u32, _: Sharing) -> Result<(), Errno> {
//!         Err(Errno::NotPermitted)
//!     }
//! }
//!
//! let memory = HeapMemory::new(16, 0x1000);
//! let config = |id| DomainConfig {
//!     id: DomainId(id),
//!     kind: DomainKind::Pv,
//!     privilege: Privilege::None,
//!     word_size: WordSize::Bits64,
//!     vcpus: 1,
//!     max_port: 1023,
//!     pirqs: 0,
//!     shared_info_gfn: 1,
//! };
//! let domains = (0..2).map(|id| Domain::new(config(id), &memory)).collect::<Result<_, _>>()?;
//! let handlers = VirqHandlers::new(DomainId::DOM0);
//! let host = Hypervisor { memory, domains, handlers, asked: RefCell::default() };
//!
//! let [dom0, guest] = &host.domains[..] else { unreachable!() };
//! let offered = guest.alloc_unbound(&host, DomainId::SELF, dom0.id())?;
//! let end = dom0.bind_interdomain(&host, guest.id(), offered)?;
//! host.asked.borrow_mut().clear();
//! dom0.send(&host, end)?;
//! assert_eq!(host.asked.take(), [Action::Kick { domain: guest.id(), vcpu: VcpuId(0) }]);
//! assert!(guest.bits(&host, offered)?.pending);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bytes;
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
mod restore;
mod saved;
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
pub use restore::RestoreError;
pub use restore::reconnections;
pub use saved::SavedError;
pub use saved::SavedEvents;
pub use saved::SavedPort;
pub use saved::SavedVcpu;
pub use slot::Binding;
pub use slot::ConsumerId;
pub use slot::MAX_PIRQS;
pub use slot::MAX_VCPUS;
pub use status::PortBits;
pub use status::PortStatus;
pub use time::VcpuTime;
pub use virq::VirqHandlers;
pub use virq::send_global_virq;
