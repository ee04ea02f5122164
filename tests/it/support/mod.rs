//! What the stories share: tiny networks, images, a running service.

pub mod networks;
