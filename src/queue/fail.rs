//! A task failed: a fault of the input ends the job at once, one of ours is tried again.

use std::time::Duration;

use serde_json::json;

use super::claimed::Claim;
use super::{MAX_ATTEMPTS, QueueError, cancel, lock_unfinished, to_json};
use crate::db::jobs::Ending;
use crate::db::{CommitPoint, Connection, Db, JobStatus, TaskState, commit, events, jobs, tasks};
use crate::ids::JobId;
use crate::problem::{Code, Problem};

/// What became of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The task waits to be claimed again.
    Retried,
    /// The job failed.
    JobFailed,
    /// The customer had asked for the job's end, so it does not end as failed.
    Cancelled,
}

/// Handles a failed task. `may_pass` tells whether trying again could help. A failure after durable progress costs no attempt.
///
/// # Errors
/// [`QueueError::LeaseLost`] if the lease was lost; else as [`QueueError`].
pub async fn fail(db: &Db, claim: &Claim, problem: &Problem, may_pass: bool) -> Result<Verdict, QueueError> {
    let mut tx = db.begin().await?;
    let job = lock_unfinished(&mut tx, claim).await?;
    if job.cancel_requested_at.is_some() {
        drop(tx);
        cancel::acknowledge(db, claim).await?;
        return Ok(Verdict::Cancelled);
    }
    let mut detail = claim.detail();
    detail["error"] = problem.detail.clone().into();
    let Some(progressed) = tasks::has_progressed(&mut tx, claim.task, claim.lease).await? else {
        return Err(QueueError::LeaseLost);
    };
    if may_pass && (progressed || claim.attempt < MAX_ATTEMPTS) {
        let wait = wait_before(if progressed { 2 } else { claim.attempt + 1 }).as_secs_f64();
        if !tasks::retry(&mut tx, claim.task, claim.lease, wait).await? {
            return Err(QueueError::LeaseLost);
        }
        detail["again_in_seconds"] = wait.into();
        events::append(&mut tx, claim.job, "task_failed", &detail).await?;
        commit(tx, CommitPoint::Retry).await?;
        return Ok(Verdict::Retried);
    }
    if !tasks::end(&mut tx, claim.task, claim.lease, TaskState::Failed).await? {
        return Err(QueueError::LeaseLost);
    }
    events::append(&mut tx, claim.job, "task_failed", &detail).await?;
    end_job(&mut tx, claim.job, JobStatus::Failed, &last_word(claim, problem, may_pass)).await?;
    commit(tx, CommitPoint::Fail).await?;
    Ok(Verdict::JobFailed)
}

/// How long a task waits before an attempt: 1 s before the second, 4 s before the third.
fn wait_before(attempt: i32) -> Duration {
    Duration::from_secs(1 << (2 * (attempt - 2).clamp(0, 4)))
}

/// The job's error: an error of the input unchanged, an internal one with the number of attempts.
fn last_word(claim: &Claim, problem: &Problem, may_pass: bool) -> Problem {
    if !may_pass {
        return problem.clone();
    }
    let block = claim.block.as_ref().map(|block| format!(" of block {block}")).unwrap_or_default();
    let detail = format!(
        "{}{block} failed {MAX_ATTEMPTS} times in a row; the last error: {}",
        claim.kind.as_str(),
        problem.detail
    );
    Problem::new(Code::TaskFailed, detail).with_errors(problem.errors.clone()).omitting(problem.errors_omitted)
}

/// Ends a job without a result: its other tasks, its final event, its status. The caller holds the job's lock.
///
/// # Errors
/// As [`QueueError`]; [`QueueError::LeaseLost`] if the job was already done.
pub(super) async fn end_job(
    conn: &mut Connection,
    job: JobId,
    status: JobStatus,
    problem: &Problem,
) -> Result<(), QueueError> {
    tasks::cancel_all(conn, job).await?;
    let error = to_json(&Problem { instance: Some(format!("/v1/jobs/{job}")), ..problem.clone() });
    let kind = if status == JobStatus::Expired { "expired" } else { "failed" };
    events::append(conn, job, kind, &json!({ "code": problem.code, "error": problem.detail })).await?;
    let ended = jobs::finish(conn, job, &Ending { status, outcome: None, error: Some(&error) }).await?;
    if ended { Ok(()) } else { Err(QueueError::LeaseLost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_waits_longer() {
        assert_eq!([2, 3].map(|attempt| wait_before(attempt).as_secs()), [1, 4]);
    }
}
