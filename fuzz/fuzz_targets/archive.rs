//! Archives of images.

#![no_main]

#[path = "../../tests/it/hostile/doors.rs"]
#[allow(dead_code)]
mod doors;

use libfuzzer_sys::fuzz_target;
use practised::images::Limits;

fuzz_target!(
    // What panics in a decoder of images is caught where it is called: only what gets past that ends the process here.
    init: drop(std::panic::take_hook()),
    |bytes: &[u8]| doors::archive(bytes, &limits())
);

/// Small ones, so that an input takes milliseconds.
fn limits() -> Limits {
    Limits { entries: 64, entry_bytes: 1 << 20, total_bytes: 4 << 20, pixels: 1 << 18, ..Limits::default() }
}
