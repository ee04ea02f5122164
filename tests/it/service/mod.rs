//! The service through its front door: a real process, its own PostgreSQL, real workers.

mod apart;
mod bad_input;
mod conventions;
mod decoding;
mod devices;
mod faults;
mod fuzz_requests;
mod hosts;
mod jobs;
mod keys;
mod kills;
mod listener;
mod outages;
mod pool;
mod resources;
mod rolling;
mod signals;
mod soak;
mod spools;
mod strange_input;
mod zombies;
