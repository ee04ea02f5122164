//! Closed-form recovery: one convolution next to a gap is fitted by least squares (method §4, `closed_form`).
//!
//! Where the paper fits adapters by gradient descent, a single linear solve brings most of what they bring: the last
//! convolution that *writes* the residual stream ahead of the gap takes over what the dropped block added, as well as a
//! linear map of its input can; where nothing writes, the convolutions that *read* the stream behind the gap make up for
//! it. A refit makes the *local* error smaller, which need not make the features better, so none is taken that does not
//! lower the feature loss on the images that decide ([`gate`]).
//!
//! * [`problem`]: which convolution, towards which value of the teacher
//! * [`rows`]: its input and target, image by image
//! * [`solve`]: the normal equations
//! * [`gate`]: which of the solutions, and how much of it, if any
//! * [`start`]: all of a student's gaps, and the writers behind them

mod gate;
mod problem;
mod rows;
mod solve;
pub mod start;

pub use gate::{Gate, refit};
pub use problem::{Problem, ahead_of_gap, behind_gap, of_sum};
