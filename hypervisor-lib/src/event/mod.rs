//! The hypervisor's side of event channels: ports, both ABIs' producers, upcalls, physical IRQs, save and restore.
//!
//! ```text
//! guest hypercall ─► Domain ─┬─ ports (slot, table): what is bound to what
//!                            ├─ pending (two_level | fifo): bits, words and queues in the guest's pages
//!                            ├─ upcall (callback): evtchn_upcall_pending 0→1, then one Action for the hypervisor
//!                            └─ physical IRQs (pirq): what is mapped, passed through, ended
//! ```
//!
//! **Guest pages** are reached by handles that are traded for references to structures of atomics; see
//! [`GuestMemory`]. This core holds no pointer and no unsafe code.
//!
//! **Locks.** The user chooses their type by [`Host::Lock`]. They are taken in this order, never the other way:
//!
//! | | lock | guards | held |
//! |---|---|---|---|
//! | 1 | event lock, one a domain; two by ascending number | which ports are open, which pages are pinned, which physical IRQs are mapped and passed through | by opening, closing, setting up; while a passed-through interrupt is carried |
//! | 2 | port lock, one a port; two by domain and port | what the port is bound to | by a sender on its own port; by closing on both ends |
//! | 3 | queue lock, one a vCPU and priority; two by rank | the queue's tail | while a port is put into the queue |
//! | 4 | callback line, one a domain | the line's level | while the line is driven |
//!
//! A sender takes 2 of its own port and 3; each is held for a bounded number of steps, and nothing a guest does makes it
//! longer. What a sender reads without a lock (a port's page of slots, a vCPU's block, the route) is published by a single
//! word.
//!
//! **Example.** A hypervisor of two domains whose hypercalls arrive as numbers, of which one connects to the other and calls
//! it:
//!
//! ```
//! use std::cell::RefCell;
//! use hypervisor_abi::event::{AllocUnbound, BindInterdomain, Send};
//! use hypervisor_abi::{DomainId, Errno, Shared, VcpuId};
//! use hypervisor_lib::event::{Action, Domain, DomainConfig, EventCall, GuestMemory, GuestPlace, HeapMemory, Host};
//! use hypervisor_lib::event::{PinError, Pinned, Privilege, Sharing, VirqHandlers, WordSize};
//! use hypervisor_lib::fabric::DomainKind;
//! use parking_lot::RawMutex;
//!
//! struct Hypervisor {
//!     memory: HeapMemory<RawMutex>, // on hardware: the guests' frames, mapped
//!     domains: Vec<Domain<RawMutex>>,
//!     handlers: VirqHandlers,
//!     asked: RefCell<Vec<Action>>, // on hardware: kicks, injected vectors, lines
//! }
//!
//! impl GuestMemory for Hypervisor {
//!     fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
//!         self.memory.pin(domain, place)
//!     }
//!     fn unpin<T: Shared>(&self, pinned: Pinned<T>) { self.memory.unpin(pinned) }
//!     fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> { self.memory.get(pinned) }
//! }
//!
//! impl Host for Hypervisor {
//!     type Lock = RawMutex;
//!     fn domain(&self, id: DomainId) -> Option<&Domain<RawMutex>> { self.domains.get(usize::from(id.0)) }
//!     fn virq_handlers(&self) -> &VirqHandlers { &self.handlers }
//!     fn act(&self, action: Action) { self.asked.borrow_mut().push(action); }
//!     fn is_paused(&self, _: DomainId) -> bool { false }
//!     fn is_preempted(&self) -> bool { false }
//!     fn is_local_apic_enabled(&self, _: DomainId, _: VcpuId) -> bool { true }
//!     fn may_use_pirq(&self, _: DomainId, _: u32) -> bool { false }
//!     fn bind_pirq(&self, _: DomainId, _: u32, _: Sharing) -> Result<(), Errno> { Err(Errno::NotPermitted) }
//! }
//!
//! let memory = HeapMemory::new(16, 0x1000);
//! let (kind, privilege, word_size) = (DomainKind::Pv, Privilege::None, WordSize::Bits64);
//! let config = DomainConfig {
//!     id: DomainId(0), kind, privilege, word_size, vcpus: 1, max_port: 1023, pirqs: 0, shared_info_gfn: 1,
//! };
//! let domains = [0, 1].map(|id| Domain::new(DomainConfig { id: DomainId(id), ..config }, &memory));
//! let domains = domains.into_iter().collect::<Result<_, _>>()?;
//! let handlers = VirqHandlers::new(DomainId::DOM0);
//! let host = Hypervisor { memory, domains, handlers, asked: RefCell::default() };
//! let [dom0, guest] = &host.domains[..] else { unreachable!() };
//!
//! // `HYPERVISOR_event_channel_op`: the argument was copied from the guest, and is copied back when filled in.
//! let mut offer = EventCall::AllocUnbound(AllocUnbound { dom: DomainId::SELF.0, remote_dom: 0, port: 0 });
//! guest.event_channel_op(&host, &mut offer)?;
//! let EventCall::AllocUnbound(offer) = offer else { unreachable!() };
//! let mut bind = BindInterdomain { remote_dom: 1, remote_port: offer.port, ..BindInterdomain::default() };
//! let mut call = EventCall::BindInterdomain(bind);
//! dom0.event_channel_op(&host, &mut call)?;
//! if let EventCall::BindInterdomain(filled) = call { bind = filled; }
//!
//! host.asked.borrow_mut().clear();
//! dom0.event_channel_op(&host, &mut EventCall::Send(Send { port: bind.local_port }))?;
//! assert_eq!(host.asked.take(), [Action::Kick { domain: guest.id(), vcpu: VcpuId(0) }]);
//! let wrong = dom0.event_channel_op(&host, &mut EventCall::Send(Send { port: 700 })).unwrap_err();
//! assert_eq!(wrong.errno().hypercall_result(), -22);
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
mod raise;
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
pub use host::MaskState;
pub use host::Sharing;
pub use hypercall::EventCall;
pub use hypervisor_abi::sched::MAX_POLL_PORTS;
pub use memory::GuestMemory;
pub use memory::GuestPlace;
pub use memory::PinError;
pub use memory::Pinned;
pub use pirq::Assignment;
pub use pirq::Carried;
pub use pirq::EoiNeed;
pub use pirq::EoiUnmask;
pub use pirq::GuestMessage;
pub use pirq::GuestPin;
pub use pirq::Interrupts;
pub use pirq::LineWay;
pub use pirq::Mapping;
pub use pirq::MessageError;
pub use pirq::MessageSource;
pub use pirq::MessageWay;
pub use pirq::Permission;
pub use pirq::PhysdevCall;
pub use pirq::PirqError;
pub use pirq::Use;
pub use pirq::pirq_of_msi;
pub use poll::Poll;
pub use raise::Raised;
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
