//! What is asked and what is answered: plain data that crosses a door, and no algorithm.
//!
//! A job's wishes ([`config`], with what its inputs are fed, [`inputs`]), what a network looks like ([`analysis`]), what a running
//! job is busy with ([`phase`]), what was measured ([`latency`]),
//! what its tasks have found out ([`task`]) and the [`report`].

pub mod analysis;
pub mod config;
pub mod inputs;
pub mod latency;
pub mod phase;
pub mod report;
pub mod task;
