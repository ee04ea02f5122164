//! ONNX files: protobuf to [`Graph`] and back.
//!
//! [`encode()`] leaves everything unchanged that is not edited: names, order, attributes, doc strings, metadata,
//! unknown fields. Files come from customers, so [`decode()`] never panics and never allocates what a file merely claims.

mod attribute;
mod decode;
mod encode;
mod error;
pub mod external;
mod sniff;
mod tensor;
mod types;

/// The messages of `onnx.proto`, generated at build time.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.mod.rs"));
}

use std::sync::Arc;

pub use decode::{MAX_BYTES, decode, decode_tensor};
pub use encode::{encode, encode_graph};
pub use error::OnnxError;

use crate::graph::{Graph, Node, TensorData};

/// A decoded ONNX file.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    source: Source,
}

/// What the file said, for [`encode()`] to start from.
#[derive(Debug, Clone)]
struct Source {
    /// The message, without the raw bytes of tensors that [`Graph`] shares.
    proto: proto::ModelProto,
    /// What each node of the message decoded to.
    nodes: Vec<Node>,
    /// What each initializer of the message decoded to.
    initializers: Vec<Arc<TensorData>>,
}

impl Model {
    /// Version of the file format.
    pub fn ir_version(&self) -> i64 {
        self.source.proto.ir_version.unwrap_or_default()
    }

    /// Program that wrote the file and its version, e.g. `pytorch 2.11.0`.
    pub fn producer(&self) -> String {
        let proto = &self.source.proto;
        let parts = [&proto.producer_name, &proto.producer_version];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    /// The model's `metadata_props`, in file order.
    pub fn metadata(&self) -> Vec<(String, String)> {
        let entries = self.source.proto.metadata_props.iter();
        entries.map(|e| (e.key.clone().unwrap_or_default(), e.value.clone().unwrap_or_default())).collect()
    }
}
