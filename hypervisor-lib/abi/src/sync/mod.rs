//! The atomics shared pages are made of: the language's, or a model checker's when it runs: loom's under `--cfg loom`,
//! shuttle's under `--cfg shuttle`, where words of 64 bits also count their read-modify-writes.

#[cfg(shuttle)]
mod counted;

#[cfg(shuttle)]
pub use counted::AtomicU64;

#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::AtomicU8;
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::AtomicU16;
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::AtomicU32;
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::AtomicU64;
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::Ordering;
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::fence;
#[cfg(loom)]
pub use loom::sync::atomic::AtomicU8;
#[cfg(loom)]
pub use loom::sync::atomic::AtomicU16;
#[cfg(loom)]
pub use loom::sync::atomic::AtomicU32;
#[cfg(loom)]
pub use loom::sync::atomic::AtomicU64;
#[cfg(loom)]
pub use loom::sync::atomic::Ordering;
#[cfg(loom)]
pub use loom::sync::atomic::fence;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::AtomicU8;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::AtomicU16;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::AtomicU32;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::Ordering;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::fence;

/// Stands between a sequentially consistent change of one word and the sequentially consistent look at another that
/// follows it. The language orders the two already; loom does not (it takes sequentially consistent accesses for
/// acquire-release), so there it is a fence.
#[inline]
pub fn change_before_look() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}
