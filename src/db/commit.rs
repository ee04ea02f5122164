//! Where transactions commit, by name, so that a test can kill the process right there.

use super::{DbError, Transaction};

/// A place where something becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitPoint {
    /// A model is registered.
    Model,
    /// An image set is registered.
    ImageSet,
    /// An API key is made under an Idempotency-Key.
    ApiKey,
    /// A job is submitted.
    Submit,
    /// The job is told that a task was claimed.
    Begin,
    /// A task's result is stored.
    Complete,
    /// A task that failed is put back.
    Retry,
    /// A task that failed ends its job.
    Fail,
    /// It is kept where a task stands.
    Checkpoint,
    /// A task is given back.
    Release,
    /// A job's end is asked for.
    CancelRequest,
    /// A worker has stopped because of that.
    CancelAcknowledge,
    /// A task whose worker died once too often ends its job.
    FailCrashed,
    /// A job that is overdue is ended.
    EndOverdue,
    /// A dead worker's leases run out.
    WorkerDied,
}

impl CommitPoint {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Model,
        Self::ImageSet,
        Self::ApiKey,
        Self::Submit,
        Self::Begin,
        Self::Complete,
        Self::Retry,
        Self::Fail,
        Self::Checkpoint,
        Self::Release,
        Self::CancelRequest,
        Self::CancelAcknowledge,
        Self::FailCrashed,
        Self::EndOverdue,
        Self::WorkerDied,
    ];
}

/// Commits, with this layer's error. In tests the process can be made to die right before (`FAILPOINTS=Submit/before=return`) or
/// right after (`Submit/after`).
///
/// # Errors
/// Where the commit did not happen, or nobody can tell because the connection broke.
pub async fn commit(transaction: Transaction, point: CommitPoint) -> Result<(), DbError> {
    die_at(point, "before");
    transaction.commit().await?;
    die_at(point, "after");
    Ok(())
}

/// Nothing, unless built for tests and asked for by `FAILPOINTS`.
fn die_at(point: CommitPoint, moment: &str) {
    // Without the feature the macro takes neither.
    let _ = (point, moment);
    fail::fail_point!(&format!("{point:?}/{moment}"), |_| std::process::abort());
}
