//! Integration tests: one binary, because each one links libtorch.

mod agreement;
mod exec;
mod graph;
mod graph_shapes;
mod onnx_roundtrip;
mod onnxruntime;
mod operators;
mod support;
