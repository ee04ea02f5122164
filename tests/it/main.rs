//! Integration tests: one binary, because each one links libtorch.

mod graph;
mod onnx_roundtrip;
mod support;
