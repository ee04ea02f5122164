//! A worker takes a task.

use serde_json::json;

use super::claimed::Claim;
use super::{AGEING, CRASH_WAIT, LEASE, MAX_ATTEMPTS, MAX_CRASHES, PRECEDENCE, QueueError, cancel, caps, lock};
use crate::db::claims::{self, ClaimRow, Rules};
use crate::db::{CommitPoint, Db, commit, events, jobs, tasks};
use crate::ids::WorkerId;

/// What every claim goes by.
pub const RULES: Rules = Rules {
    lease_seconds: LEASE.as_secs_f64(),
    max_attempts: MAX_ATTEMPTS,
    rise_seconds: AGEING.as_secs_f64(),
    max_crashes: MAX_CRASHES,
    crash_wait_seconds: CRASH_WAIT.as_secs_f64(),
    precedence_seconds: PRECEDENCE.as_secs_f64(),
};

/// How often a worker tries before it waits, where what it claimed cannot begin: the next claim knows why, and passes it over.
const TRIES: usize = 3;

/// Takes the task that is next in turn ([`claims::claim`]), or nothing. The claim is one statement of its own, so that no claim ever
/// waits for another; the job's row follows in a second transaction, and a crash between the two only leaves the job
/// `queued` until the task's next claim.
///
/// # Errors
/// As [`QueueError`].
pub async fn claim(db: &Db, worker: WorkerId) -> Result<Option<Claim>, QueueError> {
    for _ in 0..TRIES {
        let mut conn = db.connection().await?;
        let Some(ClaimRow { claim, rescued }) = claims::claim(&mut conn, worker, RULES).await? else { return Ok(None) };
        drop(conn);
        if begin(db, &claim, rescued).await? {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}

/// The job's side of a claim. False where the job ended, or was asked to, or the lease moved on between the two, or the tenant
/// would have more running tasks than it may: then the task is given back. Public so that a test can stop between the two.
///
/// # Errors
/// As [`QueueError`].
pub async fn begin(db: &Db, claim: &Claim, rescued: bool) -> Result<bool, QueueError> {
    let mut tx = db.begin().await?;
    let job = lock(&mut tx, claim.job).await?;
    if job.status.is_done() || job.cancel_requested_at.is_some() {
        drop(tx);
        // Where the job's end took the lease away already, there is nothing left to say.
        return match cancel::acknowledge(db, claim).await {
            Ok(()) | Err(QueueError::LeaseLost) => Ok(false),
            Err(error) => Err(error),
        };
    }
    // A worker that was away for longer than its lease has nothing to begin with, and nothing to say.
    if tasks::look(&mut tx, claim.task, claim.lease).await?.is_none() {
        return Ok(false);
    }
    if !caps::may_begin(&mut tx, &job.tenant).await? {
        tasks::release(&mut tx, claim.task, claim.lease, false, 0.0).await?;
        commit(tx, CommitPoint::Release).await?;
        return Ok(false);
    }
    if jobs::start(&mut tx, claim.job).await? {
        events::append(&mut tx, claim.job, "started", &json!({})).await?;
    }
    let kind = if rescued { "task_rescued" } else { "task_started" };
    events::append(&mut tx, claim.job, kind, &claim.detail()).await?;
    commit(tx, CommitPoint::Begin).await?;
    Ok(true)
}
