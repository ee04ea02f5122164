//! Integration tests: one binary, because each one links libtorch.

mod exec;
mod layering;
mod method;
mod support;
