//! Integration tests: one binary, because each one links libtorch.

mod exec;
mod operators;
mod support;
