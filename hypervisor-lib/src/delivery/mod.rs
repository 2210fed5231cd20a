//! Interrupts to vCPUs that have a local APIC: messages, the bus that carries them, and the engines that deliver.
//!
//! ```text
//! device MSI, I/O APIC ──► Message ─┐                               ┌─► Inbox of vCPU 0 ─ sync ─► LocalApic ─► vCPU 0
//!                                   ├─► ApicBus: who is addressed? ─┼─► Inbox of vCPU 1 ─ sync ─► LocalApic ─► vCPU 1
//! ICR of a LocalApic ────► Message ─┘                               └─► ...
//! ```
//!
//! A [`LocalApic`](software::LocalApic) belongs to the thread that runs its vCPU. What other threads send goes through the
//! [`ApicBus`], which all of them share: it sets a bit in the destination's [`Inbox`] and asks for a
//! [`Kick`](Action::Kick) if that was empty. Before the vCPU is entered, its thread calls
//! [`sync`](software::LocalApic::sync).
//!
//! With an engine of the processor's, the vector goes where the processor finds it instead. [`engine`] has one face for all of
//! them, software included; a hypervisor that runs vCPUs wants a [`VcpuApic`](engine::VcpuApic) rather than a bare
//! [`LocalApic`](software::LocalApic).
//!
//! No lock is taken anywhere, and none of the loops depends on what a guest wrote: one goes over the vCPUs of the domain
//! at most.
//!
//! **Example.** A vCPU sends an interrupt to another:
//!
//! ```
//! use std::cell::RefCell;
//!
//! use hypervisor_abi::VcpuId;
//! use hypervisor_abi::apic::ApicId;
//! use hypervisor_lib::delivery::Action;
//! use hypervisor_lib::delivery::ApicBus;
//! use hypervisor_lib::delivery::Host;
//! use hypervisor_lib::delivery::Moment;
//! use hypervisor_lib::delivery::software::Acknowledged;
//! use hypervisor_lib::delivery::software::ApicFeatures;
//! use hypervisor_lib::delivery::software::LocalApic;
//! use hypervisor_lib::delivery::software::LocalApicConfig;
//! use hypervisor_lib::delivery::software::ProcessorRole;
//! use vector_allocator::Vector;
//!
//! struct Hypervisor {
//!     bus: ApicBus,
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
//! }
//!
//! let host = Hypervisor { bus: ApicBus::new(&[ApicId(0), ApicId(1)])?, asked: RefCell::default() };
//! let now = Moment::default();
//! let mut apics = [0, 1].map(|number| {
//!     let config = LocalApicConfig {
//!         vcpu: VcpuId(number),
//!         id: ApicId(number),
//!         role: ProcessorRole::Application,
//!         features: ApicFeatures { x2apic: true, ..ApicFeatures::default() },
//!         physical_bits: 46,
//!     };
//!     LocalApic::new(config, &host)
//! });
//! for apic in &mut apics {
//!     apic.write_msr(now, 0x1b, 0xfee0_0c00, &host)?; // IA32_APIC_BASE: x2APIC mode
//!     apic.write_msr(now, 0x80f, 0x1ff, &host)?; // SVR: enabled
//! }
//! host.asked.borrow_mut().clear();
//!
//! apics[0].write_msr(now, 0x830, 1 << 32 | 0x4051, &host)?; // ICR: vector 0x51 to APIC 1
//! assert_eq!(host.asked.take(), [Action::Kick(VcpuId(1))]);
//! apics[1].sync(&host);
//! assert_eq!(apics[1].acknowledge(), Acknowledged::Vector(Vector::new(0x51)?));
//! apics[1].write_msr(now, 0x80b, 0, &host)?; // EOI
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Example.** Which engine serves a guest on a machine, and why no better one:
//!
//! ```
//! use hypervisor_lib::delivery::AmdReport;
//! use hypervisor_lib::delivery::Engine;
//! use hypervisor_lib::delivery::Guest;
//! use hypervisor_lib::delivery::GuestMode;
//! use hypervisor_lib::delivery::Hypervisor;
//! use hypervisor_lib::delivery::Report;
//! use hypervisor_lib::delivery::choose;
//!
//! // An AMD machine whose processors have AVIC but not x2AVIC.
//! let report = Report::Amd(AmdReport { family: 0x17, svm_edx: 1 << 13 | 1, ..AmdReport::default() });
//! let guest = Guest { mode: GuestMode::X2Apic, greatest_apic_id: 3 };
//! let choice = choose(&report, guest, Hypervisor::Full);
//! assert_eq!(choice.engine, Engine::Software);
//! assert_eq!(
//!     choice.refusals[0].to_string(),
//!     "no AVIC: the machine lacks x2AVIC (CPUID 8000_000A EDX, bit 18); firmware settings may hide it",
//! );
//! ```

mod address;
pub mod apicv;
pub mod avic;
mod bus;
mod capability;
mod choice;
pub mod engine;
mod host;
mod inbox;
mod interception;
pub mod ipiv;
mod message;
mod port;
pub mod posted;
pub mod software;
mod time;
mod vector_register;

pub use address::Address;
pub use address::AddressMode;
pub use bus::ApicBus;
pub use bus::BusError;
pub use bus::MAX_APIC_ID;
pub use capability::AmdReport;
pub use capability::CAPABILITIES;
pub use capability::Capability;
pub use capability::IntelReport;
pub use capability::Report;
pub use choice::Choice;
pub use choice::DoorbellRinger;
pub use choice::Engine;
pub use choice::Feature;
pub use choice::Guest;
pub use choice::GuestMode;
pub use choice::Hypervisor;
pub use choice::Lack;
pub use choice::Refusal;
pub use choice::Switch;
pub use choice::XenOption;
pub use choice::choose;
pub use host::Action;
pub use host::Host;
pub use inbox::Inbox;
pub use inbox::Notification;
pub use inbox::Signals;
pub use interception::Interception;
pub use message::Destination;
pub use message::Message;
pub use message::NoMessage;
pub use port::Port;
pub use time::Deadline;
pub use time::Moment;
pub use vector_register::VectorRegister;
