//! Every delivery engine under one guest: the library's engines on modelled processors.
//!
//! A [`World`] is a domain whose vCPUs have engines of any kind, each on a processor that does its part: `carillon-machine`'s
//! model where the processor has one, nothing where software does all. The same [`Op`]s on different worlds must look the same
//! to the guest and to its devices: [`Seen`] is what they see.

mod core;
mod host;
mod op;
mod seen;
mod svm_core;
mod vcpu;
mod vmx_core;
mod world;

pub use host::Platform;
pub use op::Act;
pub use op::Op;
pub use op::Source;
pub use seen::Seen;
pub use vcpu::EngineKind;
pub use world::World;
