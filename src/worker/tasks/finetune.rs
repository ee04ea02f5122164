//! *finetune*: the student recovers. Its bytes wait in the database for the export.

use super::Failure;
use crate::compress::observer::Observer;
use crate::compress::pipeline::{self, Bench, Selection};
use crate::db::TaskKind;
use crate::db::tasks::TaskRow;
use crate::queue::QueueError;
use crate::queue::complete::Done;

/// Blob: the student as ONNX.
pub(super) const STUDENT: &str = "student";

/// Blob: the student as dropped, as ONNX.
pub(super) const BEFORE: &str = "before_finetune";

/// Blob: the refitted student before any training, as ONNX; not there if nothing was refitted.
pub(super) const REFIT: &str = "refit";

/// What was chosen before.
pub(in crate::worker) struct Input {
    selection: Selection,
}

impl Input {
    pub(super) fn from(before: &[TaskRow]) -> Result<Self, QueueError> {
        Ok(Self { selection: super::result(before, TaskKind::Select)? })
    }
}

pub(super) fn run(bench: &Bench, input: &Input, obs: &dyn Observer) -> Result<Done, Failure> {
    let finetuned = pipeline::finetune(bench, &input.selection, obs)?;
    let mut blobs = vec![(STUDENT, finetuned.student), (BEFORE, finetuned.before_finetune)];
    blobs.extend(finetuned.refit.map(|refit| (REFIT, refit)));
    Ok(Done { blobs, ..super::done(&finetuned.summary)? })
}
