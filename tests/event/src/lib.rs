//! Event channels under hostile guests, many threads and full load: a small hypervisor for such tests, and the hostile
//! guests themselves.
//!
//! [`World`] is the hypervisor, [`Door`] the way in for a guest's hypercalls, as bytes. [`OverlaidMemory`] is guest memory in
//! which one structure can lie over another. [`hostile`] holds what a fuzzer drives: functions that take bytes.

mod counted_lock;
mod door;
#[cfg(not(any(loom, shuttle)))]
pub mod hostile;
mod interrupts;
mod kernel;
#[cfg(not(any(loom, shuttle)))]
mod overlaid_memory;
#[cfg(shuttle)]
mod shuttle_lock;
mod world;

pub use counted_lock::CountedLock;
pub use counted_lock::locks_taken;
pub use door::Door;
pub use kernel::Kernel;
pub use kernel::KernelPages;
pub use kernel::bring_up;
pub use kernel::kernel;
#[cfg(not(any(loom, shuttle)))]
pub use overlaid_memory::OverlaidMemory;
#[cfg(not(any(loom, shuttle)))]
pub use overlaid_memory::Scribble;
#[cfg(shuttle)]
pub use shuttle_lock::ShuttleLock;
pub use world::Layout;
pub use world::View;
pub use world::World;
pub use world::config;
