//! *measure*: latency of the teacher and of every single drop, on one device.

use super::Failure;
use crate::compress::observer::Observer;
use crate::compress::pipeline::{self, Bench};
use crate::queue::complete::Done;

pub(super) fn run(bench: &Bench, obs: &dyn Observer) -> Result<Done, Failure> {
    super::done(&pipeline::measure(bench, obs)?)
}
