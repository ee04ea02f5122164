//! *score*: recoverability of one block. Independent of all other tasks, so the whole pool can work on one job.

use super::Failure;
use crate::compress::observer::Observer;
use crate::compress::pipeline::{self, Bench};
use crate::queue::complete::Done;

pub(super) fn run(bench: &Bench, block: &str, obs: &dyn Observer) -> Result<Done, Failure> {
    super::done(&pipeline::score(bench, block, obs)?)
}
