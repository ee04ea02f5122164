//! Integration tests: one binary, because each one links libtorch.

mod exec;
mod images;
mod layering;
mod method;
mod support;
