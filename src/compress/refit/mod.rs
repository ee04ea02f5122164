//! Closed-form recovery: one layer next to a gap is fitted by least squares (docs/method.md §4, `closed_form`).
//!
//! The paper fits adapters by gradient descent; a single linear solve brings most of their gain: the last layer
//! (a convolution or, in transformers and ConvNeXt, a linear one) that *writes* the residual stream ahead of the gap takes
//! over what the dropped block added, as well as a linear map of its input can. If nothing writes, the convolutions that
//! *read* the stream behind the gap make up for it. A refit makes the *local* error smaller, which need not make the features
//! better, so a refit is kept only if it lowers the validation loss ([`gate`]).
//!
//! * [`target`]: which layer, towards which value of the teacher
//! * [`rows`]: the layer's input and target, image by image
//! * [`frontier`]: stored values of the networks, so that a refit continues where the previous one ended
//! * [`window`]: what it sees at one position
//! * [`solve`]: the normal equations
//! * [`gate`]: which of the solutions, and how much of it, if any
//! * [`start`]: all of a student's gaps, and the writers behind them

mod frontier;
mod gate;
mod rows;
mod solve;
pub mod start;
mod target;
mod window;

pub use frontier::{Frontier, Known};
pub use gate::{Gate, refit};
pub use target::{RefitTarget, ahead_of_gap, behind_gap, of_sum};
