//! What an inter-processor interrupt costs on each engine: a model of steps, fitted on published measurements, and the IPI
//! microbenchmark run with it.
//!
//! ```text
//! published rows ─► fit: cycles of each step ─┐
//!                                             ├─► Bench: turns of the microbenchmark on the wheel ─► distributions
//! an ICR write ─► hypervisor-lib: which steps ┘
//! ```
//!
//! Which steps a command takes, the library decides: `register_access` says whether the processor completes a write or exits,
//! a local APIC on its bus who gets the vector, and whether the end of it exits. The [`Step`]s only weigh that. Times are cycles
//! of the time-stamp counter of the machine that was measured.

mod bench;
mod contender;
mod fit;
mod guest;
mod least_squares;
mod published;
mod spread;
mod step;

pub use bench::Bench;
pub use bench::BenchError;
pub use bench::Measured;
pub use bench::Mode;
pub use bench::Sending;
pub use contender::Contender;
pub use contender::Handling;
pub use contender::NoContender;
pub use fit::Check;
pub use fit::Fit;
pub use fit::FitError;
pub use fit::Reduction;
pub use published::FAST_PATH;
pub use published::FastPathFigure;
pub use published::Run;
pub use published::SOURCE;
pub use published::runs;
pub use spread::Spread;
pub use step::Origin;
pub use step::Step;
pub use step::StepCosts;
