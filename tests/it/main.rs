//! Integration tests: one binary, because each one links libtorch.

mod agreement;
mod exec;
mod images;
mod onnxruntime;
mod operators;
mod support;
