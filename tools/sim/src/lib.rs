//! Discrete-event simulation of interrupt delivery: engine, workloads, recorded input, reports.
#![forbid(unsafe_code)]

mod result;
mod wheel;

pub use result::Blocking;
pub use result::Count;
pub use result::Lane;
pub use result::Latency;
pub use result::Retention;
pub use result::RunResult;
pub use result::SourceResult;
pub use result::SpanKind;
pub use result::TimelineSpan;
pub use result::Waiting;
pub use wheel::Wheel;
