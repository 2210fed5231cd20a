//! The machine as its driver sees it: calls in, timers and facts out.

mod abis;
mod conservation;
mod engines;
mod entry;
mod events;
mod iommu;
mod late;
mod moves;
mod paths;
mod question;
mod refusals;
mod retention;
mod scheduling;
mod storm;
mod support;
mod task_priority;
