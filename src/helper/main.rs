//! `practised-helper`: what the service does in processes of their own that need no libtorch, whose loading alone computes for 0.4 s:
//! decoding an upload, and measuring in ONNX Runtime.
//!
//! It is made of the library's own files and not of the library, with which libtorch would be linked. `practised decode-child` and
//! `practised latency-child` do the same where this program is missing.

// The library uses what is left over here.
#![allow(dead_code, unused_imports)]

use std::process::ExitCode;

mod decoding;
mod latency;

#[path = "../exec/device.rs"]
mod device;
#[path = "../hash.rs"]
mod hash;
#[path = "../images/mod.rs"]
mod images;
#[path = "../onnxruntime.rs"]
mod onnxruntime;
#[path = "../problem/mod.rs"]
mod problem;
#[path = "../spec/latency.rs"]
mod spec_of_latency;
#[path = "../graph/tensor.rs"]
mod tensor;

/// The names under which these files know each other.
mod exec {
    pub use crate::device::Device;
}
mod graph {
    pub use crate::tensor::DataType;
}
mod spec {
    pub(crate) use crate::spec_of_latency as latency;
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("decode-child") => decoding::child::run_child(),
        Some("latency-child") => latency::child::run_child(),
        Some("--version") => {
            println!("practised-helper {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("practised-helper is run by practised itself; see `practised --help`");
            ExitCode::from(2)
        }
    }
}
