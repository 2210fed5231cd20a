//! Where a vCPU is, and how it moves between physical CPUs, over every engine.
//!
//! ```text
//!                load(CPU)                           block
//!  ┌─────────┐ ────────────► ┌──────────────┐ ─────────────────► ┌─────────────────────┐
//!  │ Offline │               │ Running(CPU) │ ◄── something came │ Blocked(list owner) │
//!  └─────────┘               └──┬────────▲──┘ ◄───────────────── └─────────────────────┘
//!     ▲    ▲            preempt │        │ load(CPU)   load(CPU)     │
//!     │    │ retire      ┌──────▼────────┴──┐                        │ retire
//!     │    └──────────── │    Preempted     │                        │
//!     │                  └──────────────────┘                        │
//!     └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! A [`Residency`] is a vCPU in one of these states. Its transitions are data: the writes in their order, and the looks that
//! keep an interrupt from being lost between two of them. A [`Carrier`] carries them out: on the words of a host
//! ([`PostedWords`], [`AvicWords`], [`NoteWords`], [`LeasedSources`]), or on a model.
//!
//! A [`Plan`] is a whole move: vectors are reserved where the vCPU's remapped sources go, it leaves, it enters, its sources
//! follow, and their old vectors drain. It can be printed; an [`Execution`] carries it out by steps, and where one fails a
//! [`Stage`] names where things stand, and [`roll_back`](Execution::roll_back) is the plan back. What is the vCPU's own (the
//! EOI-exit bitmap, RVI and SVI, its page) goes with it unchanged. Sources that are posted stay as they are (R-48).
//!
//! The engines themselves ([`posted`](crate::delivery::posted), [`avic`](crate::delivery::avic)) make each transition in one
//! call, for who runs vCPUs in earnest; the tests check that both do the same.
//!
//! ```
//! use hypervisor_abi::DomainId;
//! use hypervisor_abi::VcpuId;
//! use hypervisor_lib::delivery::posted::Protocol;
//! use hypervisor_lib::delivery::posted::VcpuKey;
//! use hypervisor_lib::migration::Record;
//! use hypervisor_lib::migration::Residency;
//! use hypervisor_lib::migration::Vcpu;
//! use vector_allocator::CpuId;
//!
//! let key = VcpuKey { domain: DomainId(1), vcpu: VcpuId(0) };
//! let vcpu = Residency::new(Vcpu { key, record: Record::Descriptor(Protocol::Xen) });
//! for step in vcpu.load(CpuId(0)).steps() {
//!     println!("{step}, because {}", step.reason());
//! }
//! ```

mod avic_words;
mod carrier;
mod execution;
mod leased_sources;
mod note_words;
mod offline;
mod plan;
mod posted_words;
mod residency;
mod step;

pub use avic_words::AvicWords;
pub use carrier::Carrier;
pub use carrier::Carriers;
pub use carrier::Nothing;
pub use carrier::Outcome;
pub use carrier::StepError;
pub use execution::Execution;
pub use execution::Stopped;
pub use leased_sources::LeasedSources;
pub use leased_sources::NotProgrammed;
pub use leased_sources::SourceHost;
pub use note_words::KickTarget;
pub use note_words::NoteWords;
pub use note_words::Sleep;
pub use offline::CannotGo;
pub use offline::CpuOffline;
pub use offline::Waker;
pub use plan::Following;
pub use plan::Plan;
pub use plan::Planned;
pub use plan::Stage;
pub use posted_words::HostLists;
pub use posted_words::PostedWords;
pub use residency::Block;
pub use residency::Blocked;
pub use residency::Blocking;
pub use residency::Interrupted;
pub use residency::Offline;
pub use residency::Preempted;
pub use residency::Record;
pub use residency::Residency;
pub use residency::Running;
pub use residency::Transition;
pub use residency::Vcpu;
pub use step::Carried;
pub use step::Look;
pub use step::Said;
pub use step::Source;
pub use step::Step;
pub use step::Words;
