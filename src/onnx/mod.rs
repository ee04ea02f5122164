//! ONNX files: protobuf to [`crate::graph::Graph`] and back.

/// The messages of `onnx.proto`, generated at build time.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.mod.rs"));
}
