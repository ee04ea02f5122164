//! A task that a worker holds.

use serde_json::json;

use crate::db::TaskKind;
use crate::db::claims::ClaimRow;
use crate::ids::{JobId, TaskId};

/// A task with the lease that its holder names in every write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// Its job.
    pub job: JobId,
    /// What to do.
    pub kind: TaskKind,
    /// The block, for a score.
    pub block: Option<String>,
    /// Which attempt this is, from 1; crashes are not counted.
    pub attempt: i32,
    /// How often the task lost its worker in a row without progress.
    pub crashes: i32,
    /// The fence.
    pub lease: i64,
}

impl Claim {
    /// The claim as an event's detail.
    pub(super) fn detail(&self) -> serde_json::Value {
        let mut detail = json!({ "task": self.kind, "attempt": self.attempt });
        if let Some(block) = &self.block {
            detail["block"] = block.clone().into();
        }
        if self.crashes > 0 {
            detail["crashes"] = self.crashes.into();
        }
        detail
    }
}

impl From<ClaimRow> for Claim {
    fn from(row: ClaimRow) -> Self {
        let ClaimRow { id: task, job, kind, block, attempt, crashes, lease, rescued: _ } = row;
        Self { task, job, kind, block, attempt, crashes, lease }
    }
}
