//! Discrete-event simulation of interrupt delivery: engine, workloads, recorded input, reports.
#![forbid(unsafe_code)]

pub mod report;
mod result;

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
