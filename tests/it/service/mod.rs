//! The service through its front door: a real process, its own PostgreSQL, real workers.

mod bad_input;
mod faults;
mod jobs;
mod keys;
mod outages;
mod resources;
mod soak;
mod zombies;
