//! The network as a graph, independent of protobuf, of tensors that compute, and of the service.
//!
//! A graph comes from [`crate::onnx`], is made plain by [`fold()`] (shapes known, arithmetic on constants gone), read by
//! the layers above, and edited only by a [`patch::Patch`], which checks the result.

pub mod batch;
mod branch;
pub mod check;
pub mod dim;
pub mod error;
pub mod fold;
mod infer;
mod inference;
pub mod model;
pub mod neutral;
pub mod order;
pub mod patch;
mod shape;
pub mod tensor;
mod value;

pub use batch::free_batch;
pub use branch::inline_branches;
pub use check::check;
pub use dim::{Dim, Shape};
pub use error::{GraphError, GraphFault};
pub use fold::fold;
pub use infer::InputShapes;
pub use inference::to_inference;
pub use model::{Attribute, Attributes, Branch, Graph, Node, ValueInfo, ValueType};
pub use patch::Patch;
pub use tensor::{DataType, TensorData};
