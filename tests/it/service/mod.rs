//! The service through its front door: a real process, its own PostgreSQL, real workers.

mod bad_input;
mod devices;
mod faults;
mod jobs;
mod keys;
mod kills;
mod outages;
mod pool;
mod resources;
mod rolling;
mod soak;
mod zombies;
