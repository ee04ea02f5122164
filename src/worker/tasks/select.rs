//! *select*: which blocks go, by the measurement and all scores.

use super::Failure;
use crate::compress::observer::Observer;
use crate::compress::pipeline::{self, Bench};
use crate::db::TaskKind;
use crate::db::tasks::TaskRow;
use crate::queue::QueueError;
use crate::queue::complete::Done;
use crate::spec::task::{BlockScore, Measured};

/// What was found out before.
pub(in crate::worker) struct Input {
    pub(super) measured: Measured,
    pub(super) scores: Vec<BlockScore>,
}

impl Input {
    pub(super) fn from(before: &[TaskRow]) -> Result<Self, QueueError> {
        let measured = super::result(before, TaskKind::Measure)?;
        Ok(Self { measured, scores: super::results(before, TaskKind::Score)? })
    }
}

pub(super) fn run(bench: &Bench, input: &Input, obs: &dyn Observer) -> Result<Done, Failure> {
    super::done(&pipeline::select(bench, &input.measured, &input.scores, obs)?)
}
