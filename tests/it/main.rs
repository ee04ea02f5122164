//! Integration tests: one binary, because each one links libtorch.

mod images;
mod support;
