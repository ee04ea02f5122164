//! The sweep ends what no worker ends: tasks that lost their worker too often, jobs past their deadline, cancelled jobs whose
//! workers do not answer. (Tasks with crashes left need no rescue: an expired lease is claimable.) Every process sweeps;
//! each change is guarded, so it does not matter who comes first.

use serde_json::json;

use super::claim::RULES;
use super::{CANCEL_PATIENCE, QueueError, cancel, fail, listen};
use crate::db::claims::Rules;
use crate::db::tasks::TaskRow;
use crate::db::{
    CommitPoint, Db, JobStatus, admin, blobs, commit, events, jobs, keys, metrics, scores, tasks, workers,
};
use crate::ids::{JobId, WorkerId};
use crate::problem::{Code, Problem};

/// Ends overdue jobs and tasks; returns the number of jobs.
///
/// # Errors
/// As [`QueueError`].
pub async fn sweep(db: &Db) -> Result<u64, QueueError> {
    sweep_by(db, RULES).await
}

/// The same by other rules, as a test may claim by.
///
/// # Errors
/// As [`QueueError`].
pub async fn sweep_by(db: &Db, rules: Rules) -> Result<u64, QueueError> {
    let mut conn = db.connection().await?;
    let exhausted = tasks::exhausted(&mut conn, rules.max_crashes).await?;
    let overdue = jobs::overdue(&mut conn, CANCEL_PATIENCE.as_secs_f64()).await?;
    drop(conn);
    let mut ended = 0;
    for task in exhausted {
        ended += u64::from(fail_crashed(db, &task).await?);
    }
    for job in overdue {
        ended += u64::from(end_overdue(db, job).await?);
    }
    Ok(ended)
}

async fn fail_crashed(db: &Db, task: &TaskRow) -> Result<bool, QueueError> {
    let mut tx = db.begin().await?;
    let Some(job) = jobs::lock(&mut tx, task.job).await? else { return Ok(false) };
    if job.status.is_done() || !tasks::fail_expired(&mut tx, task.id, task.lease).await? {
        return Ok(false);
    }
    if job.cancel_requested_at.is_some() {
        cancel::end(&mut tx, task.job).await?;
    } else {
        let problem = crashed(task);
        let detail = json!({
            "task": task.kind, "block": task.block, "attempt": task.attempt, "crashes": task.crashes + 1,
            "error": problem.detail,
        });
        events::append(&mut tx, task.job, "task_failed", &detail).await?;
        fail::end_job(&mut tx, task.job, JobStatus::Failed, &problem).await?;
    }
    commit(tx, CommitPoint::FailCrashed).await?;
    tracing::warn!(job = %task.job, task = task.kind.as_str(), "a task lost its worker once too often: the job failed");
    Ok(true)
}

fn crashed(task: &TaskRow) -> Problem {
    let block = task.block.as_ref().map(|block| format!(" of block {block}")).unwrap_or_default();
    let detail = format!(
        "the worker process ended or sent no heartbeat {} times in a row while it ran {}{block}, without progress",
        task.crashes + 1,
        task.kind.as_str(),
    );
    Problem::new(Code::TaskCrashed, detail)
}

async fn end_overdue(db: &Db, id: JobId) -> Result<bool, QueueError> {
    let mut tx = db.begin().await?;
    let Some(job) = jobs::lock(&mut tx, id).await? else { return Ok(false) };
    if job.status.is_done() {
        return Ok(false);
    }
    if job.cancel_requested_at.is_some() {
        cancel::end(&mut tx, id).await?;
    } else if jobs::is_past_deadline(&mut tx, id).await? {
        let seconds = (job.deadline - job.created_at).whole_seconds();
        let problem =
            Problem::new(Code::DeadlineExceeded, format!("the job was not done within {seconds} s of its submission"));
        fail::end_job(&mut tx, id, JobStatus::Expired, &problem).await?;
        // Workers that compute for it need not wait for the next check of their lease.
        admin::notify(&mut tx, listen::CANCEL, &id.to_string()).await?;
    } else {
        return Ok(false);
    }
    commit(tx, CommitPoint::EndOverdue).await?;
    Ok(true)
}

/// A worker's process is known to be dead: its leases run out now instead of in [`super::LEASE`].
///
/// # Errors
/// As [`QueueError`].
pub async fn worker_died(db: &Db, worker: WorkerId) -> Result<u64, QueueError> {
    let mut tx = db.begin().await?;
    let expired = tasks::expire_of_worker(&mut tx, worker).await?;
    workers::stopped(&mut tx, worker).await?;
    if expired > 0 {
        admin::notify(&mut tx, listen::TASKS, "").await?;
    }
    commit(tx, CommitPoint::WorkerDied).await?;
    Ok(expired)
}

/// Deletes what is no longer needed: bytes between the tasks of jobs that are done, blobs without an owner, old answers, scores
/// of models that are gone. Adds up the changes of the tallies behind the metrics.
///
/// # Errors
/// As [`QueueError`].
pub async fn tidy(db: &Db) -> Result<(), QueueError> {
    let mut conn = db.connection().await?;
    tasks::delete_blobs_of_done_jobs(&mut conn).await?;
    blobs::delete_orphans(&mut conn).await?;
    keys::delete_old(&mut conn).await?;
    scores::delete_of_gone_models(&mut conn).await?;
    metrics::roll_up(&mut conn).await?;
    Ok(())
}
