//! A customer cancels a job: a queued one ends at once, a running one as soon as its workers have stopped.

use serde_json::json;

use super::claimed::Claim;
use super::{QueueError, listen, lock, lock_unfinished};
use crate::db::jobs::{Ending, JobRow};
use crate::db::{CommitPoint, Connection, Db, JobStatus, TaskState, admin, commit, events, jobs, tasks};
use crate::ids::JobId;

/// What a request to cancel found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelling {
    /// The job is cancelled, now or before.
    Cancelled,
    /// Its workers are notified; it will be cancelled within seconds.
    Requested,
    /// It had ended otherwise.
    Done(JobStatus),
}

/// Asks for a job's end. Asking again changes nothing.
///
/// # Errors
/// [`QueueError::NoSuchJob`], else as [`QueueError`].
pub async fn request(db: &Db, id: JobId) -> Result<Cancelling, QueueError> {
    let mut tx = db.begin().await?;
    let job = lock(&mut tx, id).await?;
    if job.status.is_done() {
        let cancelled = job.status == JobStatus::Cancelled;
        return Ok(if cancelled { Cancelling::Cancelled } else { Cancelling::Done(job.status) });
    }
    if jobs::request_cancel(&mut tx, id).await? {
        events::append(&mut tx, id, "cancel_requested", &json!({})).await?;
        admin::notify(&mut tx, listen::CANCEL, &id.to_string()).await?;
    }
    let ended = end_where_nobody_works(&mut tx, &job).await?;
    commit(tx, CommitPoint::CancelRequest).await?;
    Ok(if ended { Cancelling::Cancelled } else { Cancelling::Requested })
}

/// A worker has stopped because of the request: its task ends, and the job with the last one.
///
/// # Errors
/// [`QueueError::LeaseLost`] if the lease was lost; else as [`QueueError`].
pub async fn acknowledge(db: &Db, claim: &Claim) -> Result<(), QueueError> {
    let mut tx = db.begin().await?;
    let job = lock_unfinished(&mut tx, claim).await?;
    if !tasks::end(&mut tx, claim.task, claim.lease, TaskState::Cancelled).await? {
        return Err(QueueError::LeaseLost);
    }
    end_where_nobody_works(&mut tx, &job).await?;
    Ok(commit(tx, CommitPoint::CancelAcknowledge).await?)
}

/// Ends a job that is to be cancelled unless a worker still holds one of its tasks.
async fn end_where_nobody_works(conn: &mut Connection, job: &JobRow) -> Result<bool, QueueError> {
    if tasks::any_held(conn, job.id).await? {
        return Ok(false);
    }
    end(conn, job.id).await?;
    Ok(true)
}

/// Ends a job as cancelled, whichever worker holds its tasks. The caller holds the job's lock.
pub(super) async fn end(conn: &mut Connection, job: JobId) -> Result<(), QueueError> {
    tasks::cancel_all(conn, job).await?;
    events::append(conn, job, "cancelled", &json!({})).await?;
    let ending = Ending { status: JobStatus::Cancelled, outcome: None, error: None };
    if jobs::finish(conn, job, &ending).await? { Ok(()) } else { Err(QueueError::LeaseLost) }
}
