//! AMD's AVIC, the hypervisor's side: what it keeps for the processor and the IOMMU, and what it does when they exit
//! (APM vol. 2, 15.29; AMD I/O Virtualization Technology specification, 48882).
//!
//! ```text
//! another vCPU's ICR ──► processor ──► tables ──► IRR ──► doorbell ────────────────► vCPU that runs
//!                           └ exit 401 ─► finish_ipi ──► wake ─────────────────────► vCPU that does not
//! device ─────► IOMMU ──► guest IRTE ──► IRR ──► doorbell, or log ─► GaLog ─► tell ─► either
//! software ───► post ──► TMR, IRR ──► tell ─────────────────────────────────────────► either
//! its own registers ──► page, or exit 402 ─► finish_access
//! ```
//!
//! The processor, the IOMMU and the hypervisor change a vCPU's page while it runs, so nothing here owns it: all of it is
//! atomics. What a vCPU's thread owns is its [`AvicVcpu`]: where it is, and which devices deliver to it. Nothing blocks, and
//! no lock is taken.
//!
//! **Why no interrupt is lost.** Whoever makes a vector pending sets its bit first and looks where the vCPU is afterwards. A
//! vCPU that goes to sleep says that it is away first and looks at the bits afterwards. One of the two sees the other.
//!
//! ```
//! use std::cell::RefCell;
//!
//! use hypervisor_abi::amd_iommu::GaTag;
//! use hypervisor_abi::apic::ApicId;
//! use hypervisor_abi::apic::TriggerMode;
//! use hypervisor_abi::avic::BackingPage;
//! use hypervisor_abi::avic::HostApicId;
//! use hypervisor_abi::avic::PhysicalCell;
//! use hypervisor_lib::delivery::avic::Action;
//! use hypervisor_lib::delivery::avic::AvicVcpu;
//! use hypervisor_lib::delivery::avic::Host;
//! use hypervisor_lib::delivery::avic::IpiVirtualization;
//! use hypervisor_lib::delivery::avic::Leaving;
//! use hypervisor_lib::delivery::avic::Left;
//! use hypervisor_lib::delivery::avic::Mode;
//! use hypervisor_lib::delivery::avic::PhysicalTable;
//! use hypervisor_lib::delivery::avic::X2AvicReach;
//! use hypervisor_lib::delivery::avic::post;
//! use vector_allocator::Vector;
//!
//! struct Hypervisor(RefCell<Vec<Action>>);
//! impl Host for Hypervisor {
//!     fn act(&self, action: Action) {
//!         self.0.borrow_mut().push(action);
//!     }
//! }
//!
//! let host = Hypervisor(RefCell::default());
//! let (cells, page) = ([PhysicalCell::default()], BackingPage::default());
//! let table = PhysicalTable::new(Mode::X2Avic, X2AvicReach::Standard, &cells, IpiVirtualization::On)?;
//! let (id, core) = (ApicId(0), HostApicId::new(5)?);
//! table.insert(id, 0x1234)?; // the frame of the page
//! let mut vcpu = AvicVcpu::new(id, GaTag::new(1, 0)?, table, &page)?;
//!
//! vcpu.enter(core, &host)?;
//! post(table, id, &page, Vector::new(0x51)?, TriggerMode::Edge, &host)?;
//! assert_eq!(host.0.take(), [Action::RingDoorbell(core)]);
//! // Its guest halts before the doorbell is heard: it must not sleep.
//! assert_eq!(vcpu.leave(Leaving::Blocking, &host)?, Left::AwakeAfterAll(Vector::new(0x51)?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acceleration;
mod asid;
mod ga_log;
mod host;
mod incomplete_ipi;
mod inhibit;
mod logical;
mod msr;
mod nested;
mod no_acceleration;
mod post;
mod table;
mod target;
mod vcpu;

pub use acceleration::Acceleration;
pub use acceleration::Applies;
pub use acceleration::ExtendedLvt;
pub use acceleration::Handling;
pub use acceleration::Mode;
pub use acceleration::RULES;
pub use acceleration::Rule;
pub use asid::NoCore;
pub use asid::SharedAsid;
pub use ga_log::Completeness;
pub use ga_log::Drained;
pub use ga_log::GaLog;
pub use ga_log::GaLogError;
pub use ga_log::RESTART;
pub use ga_log::RestartStep;
pub use host::Action;
pub use host::Host;
pub use host::IrteIndex;
pub use incomplete_ipi::Broken;
pub use incomplete_ipi::Rest;
pub use incomplete_ipi::finish_ipi;
pub use inhibit::Change;
pub use inhibit::Entry;
pub use inhibit::INHIBIT_REASONS;
pub use inhibit::InhibitReason;
pub use inhibit::Inhibits;
pub use inhibit::Reach;
pub use logical::LogicalMember;
pub use logical::LogicalModel;
pub use logical::LogicalTable;
pub use msr::Handler;
pub use msr::interception;
pub use nested::nested_control;
pub use no_acceleration::Access;
pub use no_acceleration::Unexpected;
pub use no_acceleration::Written;
pub use no_acceleration::finish_access;
pub use post::Told;
pub use post::due;
pub use post::post;
pub use post::tell;
pub use table::EntryCell;
pub use table::IpiVirtualization;
pub use table::MAX_X2AVIC;
pub use table::MAX_X2AVIC_EXTENDED;
pub use table::MAX_XAVIC;
pub use table::PhysicalTable;
pub use table::Residence;
pub use table::TableError;
pub use table::X2AvicReach;
pub use target::LogicalIds;
pub use vcpu::AvicVcpu;
pub use vcpu::Leaving;
pub use vcpu::Left;
pub use vcpu::Place;
pub use vcpu::RouteError;
pub use vcpu::to_host;
