//! AVIC against a plain processor and a plain IOMMU, step by step.
#![cfg(not(any(loom, shuttle)))]

mod ipis;
mod log;
mod routes;
mod vm;
