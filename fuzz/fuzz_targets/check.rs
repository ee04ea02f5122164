//! Networks, looked at as at registration.

#![no_main]

#[path = "../../tests/it/hostile/doors.rs"]
#[allow(dead_code)]
mod doors;
#[path = "../mutate.rs"]
mod mutate;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|bytes: &[u8]| doors::check(bytes));

fuzz_mutator!(|bytes: &mut [u8], size: usize, most: usize, seed: u32| { mutate::network(bytes, size, most, seed) });
