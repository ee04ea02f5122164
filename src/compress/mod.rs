//! The method: blocks, recoverability, choice, recovery, export.

pub mod latency;
pub mod onnxruntime;
