//! The decoder of uploads.

#[path = "../service/decoding/child.rs"]
pub mod child;
#[path = "../service/decoding/protocol.rs"]
mod protocol;
