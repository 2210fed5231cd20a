//! The protocols over shared words, in every interleaving and with weak memory, up to a bound on pre-emptions.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p hypervisor-lib --test loom --release`. In an ordinary build there is
//! nothing here.
#![cfg(loom)]

mod avic;
mod fifo;
mod inbox;
mod lifecycle;
mod machine;
mod posted;
mod two_level;
