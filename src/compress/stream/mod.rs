//! The residual stream, and what stands between it and a layer.
//!
//! * [`writer`]: the layer that wrote a value of the stream
//! * [`path`]: what stands between a layer and the stream, and the way back through it
//! * [`moves`]: of what stands there, that which only moves elements

pub mod moves;
pub mod path;
pub mod writer;
