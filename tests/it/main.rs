//! Integration tests: one binary, because each one links libtorch.

mod graph;
mod graph_shapes;
mod onnx_roundtrip;
mod support;
