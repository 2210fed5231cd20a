//! Hostile guests, as functions from bytes: a fuzzer's, or a random test's.
//!
//! Both have the same company: domain 0, honest, which is connected to the hostile guest; the hostile guest; and a bystander,
//! honest, which is connected to domain 0 alone. Whatever the hostile guest does,
//!
//! * nothing panics, and no thread waits for itself ([`CountedLock`](crate::CountedLock));
//! * each operation takes a bounded number of steps ([`Meter`]);
//! * the invariants hold after each ([`Domain::check`](hypervisor_lib::event::Domain::check));
//! * the bystander's pages do not change, nor domain 0's but for the bits of the shared port;
//! * the bystander gets domain 0's events, each once;
//! * once the guest is destroyed, none of its pages is pinned.

mod company;
mod hypercalls;
mod input;
mod meter;
mod shared_pages;

pub use company::BYSTANDER;
pub use company::HOSTILE;
pub use company::HostileWorld;
pub use hypercalls::hypercalls;
pub use meter::Extent;
pub use meter::Meter;
pub use shared_pages::shared_pages;
