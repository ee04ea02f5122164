//! Integration tests: one binary, because each one links libtorch.

mod layering;
mod method;
mod support;
