//! Discrete-event simulation of interrupt delivery: engine, workloads, recorded input, reports.
#![forbid(unsafe_code)]

mod from_host;
mod hex;
pub mod import;
<<<<<<< HEAD
pub mod ipi;
=======
mod prediction;
>>>>>>> bed
mod random;
mod regular_file;
pub mod report;
mod result;
mod runner;
pub mod scenario;
pub mod snapshot;
pub mod sweep;
mod trace_hash;
mod wheel;
mod workload;

pub use from_host::Replayed;
pub use prediction::PredictedCount;
pub use prediction::Prediction;
pub use prediction::PredictionError;
pub use prediction::predict;
pub use random::RandomStream;
pub use result::Blocking;
pub use result::Count;
pub use result::EventTraffic;
pub use result::Lane;
pub use result::Latency;
pub use result::Retention;
pub use result::RunResult;
pub use result::SourceResult;
pub use result::SpanKind;
pub use result::TimelineSpan;
pub use result::Waiting;
pub use result::Waits;
pub use runner::Progress;
pub use runner::Run;
pub use runner::SpanLimit;
pub use scenario::DevicePath;
pub use scenario::Engine;
pub use scenario::EventAbi;
pub use scenario::Fault;
pub use scenario::Place;
pub use scenario::Scenario;
pub use scenario::ScenarioError;
pub use scenario::Shipped;
pub use scenario::VectorPolicy;
pub use trace_hash::TraceHash;
pub use wheel::Wheel;
pub use workload::Device;
pub use workload::Service;
pub use workload::Workload;
pub use workload::WorkloadError;
