//! How weights follow from gradients.

pub mod adam;
pub mod muon;
pub mod sgd;
