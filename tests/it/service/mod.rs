//! The service through its front door: a real process, its own PostgreSQL, real workers.

mod bad_input;
mod conventions;
mod devices;
mod faults;
mod fuzz_requests;
mod jobs;
mod keys;
mod outages;
mod resources;
mod rolling;
mod soak;
mod strange_input;
mod zombies;
