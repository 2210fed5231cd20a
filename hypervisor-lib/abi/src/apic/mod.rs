//! The local APIC: its registers, and the messages it sends and takes (SDM vol. 3A, chapter 11).
//!
//! Registers stand 16 bytes apart in a page (xAPIC) and at consecutive MSRs from 0x800 on (x2APIC); [`ApicRegister`] is the
//! table of both. The values of those that have fields are bitfields of the same names.

mod base;
mod icr;
mod id;
mod lvt;
mod msi;
mod register;
mod status;

pub use base::ApicBase;
pub use base::ApicMode;
pub use base::MSR_APIC_BASE;
pub use icr::DeliveryMode;
pub use icr::DestinationMode;
pub use icr::Icr;
pub use icr::IcrLevel;
pub use icr::Shorthand;
pub use icr::TriggerMode;
pub use id::ApicId;
pub use id::BROADCAST_X2APIC;
pub use id::BROADCAST_XAPIC;
pub use id::logical_x2apic_id;
pub use lvt::Lvt;
pub use lvt::LvtEntry;
pub use lvt::Polarity;
pub use lvt::TimerMode;
pub use msi::ExtendedDestination;
pub use msi::MsiAddress;
pub use msi::MsiData;
pub use register::ApicAccess;
pub use register::ApicRegister;
pub use register::MSR_TSC_DEADLINE;
pub use register::MSR_X2APIC_FIRST;
pub use register::MSR_X2APIC_LAST;
pub use register::SLOT_SIZE;
pub use register::VectorBank;
pub use status::ApicVersion;
pub use status::DivideConfiguration;
pub use status::ErrorStatus;
pub use status::SpuriousVector;
