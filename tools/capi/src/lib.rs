//! Carillon for C.
//!
//! What it is: the arbiter of vectors, the classifier of paths, inspection and planning of recorded hosts, and the host's
//! side of event channels, behind functions a C program can call. What it is not: a place for rules of its own; every
//! answer is that of the crates below. `carillon.h` is written from this crate's documentation.
//!
//! **Pointers.** Each pointer is null or points to what its type says: an input to as many readable bytes as the size that
//! comes with it says, an output to as many writable ones, a string to bytes that end in a zero. The library keeps no
//! pointer beyond the call, but for a domain's memory and an event host's callbacks. Null, and a size that is not the one
//! expected, are errors.
//!
//! **Ownership.** What the library makes is behind a handle and lives until [`carillon_destroy`]. It never hands out memory:
//! text and lists are copied into the caller's buffers.
//!
//! **Handles.** A number that is never given out twice. A handle that was destroyed, was never given out or is of another
//! kind of object is an error and nothing else.
//!
//! **Threads.** Every function may be called from any thread at any time. [`carillon_last_error`] is per thread.
//!
//! [`carillon_destroy`]: handle::carillon_destroy
//! [`carillon_last_error`]: call::carillon_last_error
#![expect(unsafe_code, reason = "a border to C takes pointers; docs/src/safety.md has the list")]

pub mod allocator;
pub mod call;
pub mod classifier;
mod document;
pub mod event;
pub mod handle;
pub mod inspection;
pub mod plan;
mod pointer;
pub mod recording;
mod status;

pub use status::Status;
