//! What can go wrong when a report is written.

/// A report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no run to report on.
    #[error("report {title:?} has no run to show")]
    NoRuns {
        /// The report's title.
        title: String,
    },
    /// The chart crate no longer hands out its script the way this file takes it.
    #[error("the chart library's script was not found in the chart crate")]
    NoChartScript,
    /// The trace could not be written.
    #[error("the trace of scenario {scenario:?} could not be written")]
    Trace {
        /// The run's scenario.
        scenario: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}
