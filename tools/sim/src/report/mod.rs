//! What a person is shown of runs: one HTML file to read, one trace to open in Perfetto.
//!
//! ```text
//! RunResult, plan, findings ──► Report ──► html()      one file, no network: sentence, numbers, charts, tables
//!                               RunResult ► perfetto()  Chrome trace events, a process per pCPU
//! ```
//!
//! Labels come from other people's machines: every text is escaped where it enters the page ([`html`]) or a chart.

mod charts;
mod error;
pub mod format;
mod from_plan;
mod html;
mod ipi;
mod model;
mod page;
mod palette;
mod perfetto;
mod summary;
mod tables;
mod timeline;

pub use error::ReportError;
pub use html::html;
pub use ipi::IpiReport;
pub use ipi::ipi_html;
pub use model::Finding;
pub use model::MoveRow;
pub use model::Parameter;
pub use model::PlanRows;
pub use model::Remaining;
pub use model::Report;
pub use perfetto::perfetto;
