//! The network as a graph, independent of protobuf, of tensors that compute, and of the service.

pub mod attrs;
pub mod model;

pub use attrs::{Attribute, Attributes};
pub use model::{DataType, Dim, Graph, Node, Shape, TensorData, ValueInfo, ValueType};
