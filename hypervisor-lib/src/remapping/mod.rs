//! Interrupt remapping by Intel's IOMMU: what becomes of a device's message.
//!
//! ```text
//!  device ──request──► entry at its index ──► source check ──┬─ remapped: host vector ──► pCPU
//!  index, requester ID        │                  └ fault     └─ posted: bit in a vCPU's descriptor ─► notification
//!                             └ not present: fault
//! ```
//!
//! [`VtdTable`] keeps what the hypervisor has written to one table: whose each entry is, which requests it answers
//! ([`SourceCheck`]) and what it makes of them ([`Delivery`]). [`delivery_of`] decides between the two forms;
//! [`write_order`] how one entry becomes another under the eyes of an IOMMU that reads it at any moment. What is to be done
//! comes out as [`RemappingAction`]s, in the order in which it is to be done.
//!
//! A vCPU's move between pCPUs changes nothing here if its devices post (R-48), since the entry names the descriptor; an
//! entry that is remapped gets another host vector and destination, which is one 64-bit store.
//!
//! ```
//! use std::cell::RefCell;
//!
//! use hypervisor_abi::DomainId;
//! use hypervisor_abi::vtd::Capabilities;
//! use hypervisor_abi::vtd::DescriptorAddress;
//! use hypervisor_abi::vtd::ExtendedCapabilities;
//! use hypervisor_lib::delivery::Engine;
//! use hypervisor_lib::delivery::posted::Urgency;
//! use hypervisor_lib::remapping::Delivery;
//! use hypervisor_lib::remapping::Remapped;
//! use hypervisor_lib::remapping::RemappingAction;
//! use hypervisor_lib::remapping::RemappingHost;
//! use hypervisor_lib::remapping::RequesterId;
//! use hypervisor_lib::remapping::Sender;
//! use hypervisor_lib::remapping::SourceCheck;
//! use hypervisor_lib::remapping::VtdTable;
//! use hypervisor_lib::remapping::VtdUnit;
//! use hypervisor_lib::remapping::WidestStore;
//! use vector_allocator::Vector;
//!
//! struct Edge(RefCell<Vec<RemappingAction>>);
//! impl RemappingHost for Edge {
//!     fn act(&self, action: RemappingAction) {
//!         self.0.borrow_mut().push(action);
//!     }
//! }
//!
//! let unit = VtdUnit {
//!     capabilities: Capabilities::new().with_posts(true),
//!     extended: ExtendedCapabilities::new().with_remaps(true).with_queues_invalidations(true),
//!     store: WidestStore::Bits128,
//! };
//! let edge = Edge(RefCell::default());
//! let mut table = VtdTable::new(unit, 256)?;
//! let nic = RequesterId(0x0300);
//! let check = SourceCheck::of(Sender::Integrated(nic))?;
//! let entry = table.claim(DomainId(1), check, 1)?;
//! let descriptor = DescriptorAddress::new(0x1234_5640)?;
//! let posted = Delivery::Vcpu { vector: Vector::new(0x51)?, descriptor, urgency: Urgency::Ordinary, engine: Engine::Posted };
//! table.deliver(entry, posted, &edge)?;
//! assert_eq!(edge.0.borrow().len(), 1); // nothing was cached of an entry that was absent
//! assert_eq!(table.remap(entry, nic)?, Remapped::Posted { vector: 0x51, descriptor, urgency: Urgency::Ordinary });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod form;
mod source;
mod table;
mod update;

pub use form::Delivery;
pub use form::NotPosted;
pub use form::PostingRefusal;
pub use form::Remapped;
pub use form::VtdUnit;
pub use form::delivery_of;
pub use source::PhantomFunctions;
pub use source::RequesterId;
pub use source::Sender;
pub use source::SourceCheck;
pub use source::UnknownSender;
pub use table::DeliverError;
pub use table::RemapFault;
pub use table::RemappingAction;
pub use table::RemappingHost;
pub use table::TableError;
pub use table::VtdTable;
pub use update::EntryStore;
pub use update::Torn;
pub use update::Traffic;
pub use update::WidestStore;
pub use update::write_order;
