//! One face for all engines: a vCPU's local APIC, and who delivers from it.
//!
//! ```text
//!  any thread                               the vCPU's thread                                          the processor
//!
//!  ApicBus ─► Inbox ────────────┐      ┌───────────── VcpuApic ──────────────┐     page, settings
//!          ─► PostedDescriptor ─┼──────┤ enter: collect, choose, lend        ├──────────────────────► guest runs
//!          ─► backing page ─────┘      │   ▲                                 │                            │
//!  processors, IOMMUs ─► the same      │   └── finish, read_msr, ... ◄───────┼── exited ◄─────────────────┘
//!                                      └── wakes: while the guest halts ─────┘
//! ```
//!
//! A [`VcpuApic`] is a [`LocalApic`](super::software::LocalApic) and an [engine](DeliveryEngine). The local APIC does all that
//! is the same everywhere: registers, faults, timer, pins, commands. What the processor works on by itself is *lent* to it in
//! a page, and taken back when it is needed; how much that is ([`Loan`]) is the engine's, and may change at any entry.
//!
//! | engine | on loan | others leave vectors in | the processor is told |
//! |---|---|---|---|
//! | [`Software`] | nothing | the inbox | what to inject |
//! | [`Apicv`], up to [`Registers`](ApicvLevel::Registers) | TPR, registers to read | the inbox | what to inject, TPR threshold |
//! | [`Apicv`], [`Delivery`](ApicvLevel::Delivery) | all | the inbox | RVI, SVI, EOI-exit bitmap |
//! | [`Apicv`], [`Posting`](ApicvLevel::Posting), [`Ipis`](ApicvLevel::Ipis) | all | the descriptor | the same |
//! | [`Avic`] | all | the backing page | AVIC on or off |
//!
//! One [`ApicBus`](super::ApicBus) connects vCPUs of different engines. Where a vector goes is part of what it knows of each
//! local APIC; a sender that looked just before a vCPU's engine changed leaves it at the old place, which is still looked at.
//!
//! Hardware is set by [`Action::Set`](super::Action::Set), and only what differs from what is set already. What an entry needs
//! depends on nothing but the registers: RVI and SVI are worked out afresh from the page whenever software has touched it, so
//! no sequence of exits can leave them behind.
//!
//! **Example.** A vector is posted to a vCPU, whose processor is told of it at the next entry:
//!
//! ```
//! use std::cell::RefCell;
//!
//! use hypervisor_abi::VcpuId;
//! use hypervisor_abi::apic::ApicId;
//! use hypervisor_abi::apic::DeliveryMode;
//! use hypervisor_abi::apic::TriggerMode;
//! use hypervisor_abi::avic::BackingPage;
//! use hypervisor_abi::posted::PostedDescriptor;
//! use hypervisor_lib::delivery::*;
//! use hypervisor_lib::delivery::engine::*;
//! use hypervisor_lib::delivery::software::*;
//!
//! struct Hypervisor {
//!     bus: ApicBus,
//!     page: BackingPage,
//!     descriptor: PostedDescriptor,
//!     asked: RefCell<Vec<Action>>,
//! }
//!
//! impl Host for Hypervisor {
//!     fn bus(&self) -> &ApicBus {
//!         &self.bus
//!     }
//!     fn act(&self, action: Action) {
//!         self.asked.borrow_mut().push(action);
//!     }
//!     fn page(&self, _vcpu: VcpuId) -> Option<&BackingPage> {
//!         Some(&self.page)
//!     }
//!     fn descriptor(&self, _vcpu: VcpuId) -> Option<&PostedDescriptor> {
//!         Some(&self.descriptor)
//!     }
//! }
//!
//! let host = Hypervisor {
//!     bus: ApicBus::new(&[ApicId(0)])?,
//!     page: BackingPage::default(),
//!     descriptor: PostedDescriptor::default(),
//!     asked: RefCell::default(),
//! };
//! let config = LocalApicConfig {
//!     vcpu: VcpuId(0),
//!     id: ApicId(0),
//!     role: ProcessorRole::Bootstrap,
//!     features: ApicFeatures { x2apic: true, ..ApicFeatures::default() },
//!     physical_bits: 46,
//! };
//! let now = Moment::default();
//! let mut vcpu = VcpuApic::new(config, Apicv::new(ApicvLevel::Posting), &host);
//! vcpu.write_msr(now, 0x1b, 0xfee0_0d00, &host)?; // x2APIC mode
//! vcpu.write_msr(now, 0x80f, 0x1ff, &host)?; // software-enabled
//! assert_eq!(vcpu.enter(Gates::OPEN, now, &host), None);
//! host.asked.take();
//!
//! let message = Message {
//!     destination: Destination::Physical(0),
//!     delivery: DeliveryMode::Fixed,
//!     vector: 0x51,
//!     trigger: TriggerMode::Edge,
//! };
//! host.bus.send(&message, &host);
//! assert!(matches!(host.asked.take()[..], [Action::Notify(_)]));
//!
//! // It exits before the notification comes.
//! vcpu.exited(None, &host);
//! assert_eq!(vcpu.enter(Gates::OPEN, now, &host), None, "the processor delivers");
//! let status = InterruptStatus::new().with_requested(0x51);
//! assert_eq!(host.asked.take(), [Action::Set(Setting::InterruptStatus(status))]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod apicv;
mod avic;
mod backend;
mod closed;
mod events;
mod exit;
mod saved;
mod setting;
mod software;
mod vcpu;

pub use apicv::Apicv;
pub use apicv::ApicvLevel;
pub use avic::Avic;
pub use avic::AvicTables;
pub use backend::DeliveryEngine;
pub use backend::Entering;
pub use backend::Loan;
pub use backend::Rest;
pub use backend::Vectors;
pub use closed::AnyEngine;
pub use events::Gate;
pub use events::Gates;
pub use events::PendingNmi;
pub use exit::Exit;
pub use exit::ExitError;
pub use saved::SavedVcpuApic;
pub use setting::Event;
pub use setting::InterruptStatus;
pub use setting::Setting;
pub use setting::Window;
pub use software::Software;
pub use vcpu::Finished;
pub use vcpu::VcpuApic;
