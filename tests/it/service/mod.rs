//! The service through its front door: a real process, its own PostgreSQL, real workers.

mod bad_input;
mod decoding;
mod devices;
mod faults;
mod jobs;
mod keys;
mod outages;
mod resources;
mod rolling;
mod soak;
mod spools;
mod zombies;
