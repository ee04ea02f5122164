//! Integration tests: one binary, because each one links libtorch.

mod adapters;
mod agreement;
mod command_line;
mod conformance;
mod exec;
mod families;
mod graph;
mod graph_shapes;
mod images;
mod latency;
mod layering;
mod method;
mod onnx_roundtrip;
mod onnxruntime;
mod operators;
mod poor_input;
mod private_postgres;
mod queries;
mod queue;
mod recovery;
mod service;
mod several_inputs;
mod steps;
mod support;
mod synthesis;
mod writers;
