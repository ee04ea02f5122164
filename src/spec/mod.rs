//! Settings, reports and other plain data that the API, the command line and the database share. No algorithms.
//!
//! A job's settings ([`config`], with the values of its inputs, [`inputs`]), the description of a network ([`analysis`]), the
//! phase of a running job ([`phase`]), measured latency ([`latency`]), results of its tasks ([`task`]) and the [`report`].

pub mod analysis;
pub mod config;
pub mod inputs;
pub mod latency;
pub mod phase;
pub mod report;
pub mod task;
