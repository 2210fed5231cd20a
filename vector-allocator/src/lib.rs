//! Which owner's interrupt gets which host vector on which CPU, so that no guest can hold back dom0.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod assignment;
mod cpu;
mod crowd;
mod inversion;
mod layout;
mod meeting;
mod plan;
mod policy;
mod retention;
mod set;
mod source;
mod topology;
mod vector;

pub use assignment::AssignedSource;
pub use assignment::Assignment;
pub use assignment::Mobility;
pub use assignment::SourceId;
pub use cpu::CpuId;
pub use cpu::CpuSet;
pub use inversion::Chance;
pub use inversion::FORCED_EOI_NS;
pub use inversion::Inversion;
pub use inversion::InversionKind;
pub use inversion::When;
pub use inversion::inversions;
pub use inversion::latent;
pub use layout::CustomLayout;
pub use layout::LayoutError;
pub use layout::VectorLayout;
pub use layout::XenLayout;
pub use plan::Change;
pub use plan::Constraint;
pub use plan::Goal;
pub use plan::Harms;
pub use plan::Mended;
pub use plan::Move;
pub use plan::Movers;
pub use plan::Optimality;
pub use plan::Pinning;
pub use plan::Place;
pub use plan::Plan;
pub use plan::Remaining;
pub use plan::Retarget;
pub use plan::Step;
pub use plan::plan;
pub use policy::Policy;
pub use retention::Blocked;
pub use retention::Retention;
pub use retention::retentions;
pub use set::VectorSet;
pub use source::AckType;
pub use source::DomainId;
pub use source::IoApicAck;
pub use source::Owner;
pub use source::SourceKind;
pub use topology::DestinationModel;
pub use vector::FifoPriority;
pub use vector::IllegalFifoPriority;
pub use vector::IllegalVector;
pub use vector::PriorityClass;
pub use vector::Vector;
