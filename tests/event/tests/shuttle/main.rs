//! Whole scenarios under shuttle's random schedules: every atomic access of either side may be the last before another
//! thread runs. What holds is sequentially consistent; weaker orders are loom's to explore.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test -p carillon-event-tests --test shuttle --release`. In an ordinary build
//! there is nothing here.
#![cfg(shuttle)]

mod hostile;
mod machine;
mod moves;
mod resets;
