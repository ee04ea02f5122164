//! Integration tests: one binary, because each one links libtorch.

mod graph;
mod support;
