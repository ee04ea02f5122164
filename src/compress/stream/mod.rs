//! The residual stream, and the nodes between it and a layer.
//!
//! * [`writer`]: the layer that wrote a value of the stream
//! * [`path`]: the nodes between a layer and the stream, and the way back through them
//! * [`moves`]: those of them that only move elements

pub mod moves;
pub mod path;
pub mod writer;
