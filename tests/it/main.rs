//! Integration tests: one binary, because each one links libtorch.

mod agreement;
mod exec;
mod graph;
mod images;
mod latency;
mod layering;
mod method;
mod onnxruntime;
mod operators;
mod private_postgres;
mod queries;
mod queue;
mod service;
mod support;
