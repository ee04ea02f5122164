//! Integration tests: one binary, because each one links libtorch.

mod agreement;
mod exec;
mod images;
mod latency;
mod onnxruntime;
mod operators;
mod support;
