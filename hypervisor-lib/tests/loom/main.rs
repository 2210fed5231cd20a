//! The protocols over shared words, in every interleaving and with weak memory, up to a bound on pre-emptions.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p hypervisor-lib --test loom --release`. In an ordinary build there is
//! nothing here.
#![cfg(loom)]
#![expect(unsafe_code, reason = "a lock of lock_api is an unsafe trait to implement")]

mod fifo;
mod lifecycle;
mod lock;
mod machine;
mod two_level;
