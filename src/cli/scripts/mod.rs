//! Hidden commands, which the project's own scripts run and customers have no use for.

pub mod conformance;
pub mod drop;
pub mod filters;
mod job_files;
pub mod steps;
