//! What tests and benches share: oracles and baselines too plain to be wrong.

mod linear_scan;
mod xorshift;

pub use linear_scan::END_VECTOR;
pub use linear_scan::FIRST_VECTOR;
pub use linear_scan::LinearScan;
pub use linear_scan::SYSCALL_VECTOR;
pub use linear_scan::Slot;
pub use xorshift::Xorshift;
