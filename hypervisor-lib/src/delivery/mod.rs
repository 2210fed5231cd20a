//! Interrupts that hardware delivers to vCPUs: the engines, and which of them serves a guest on a machine.
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

pub mod avic;
mod capability;
mod choice;
mod interception;
pub mod ipiv;

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
pub use interception::Interception;
