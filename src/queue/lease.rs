//! What a worker does with its lease while it computes.

use std::time::Duration;

use serde_json::Value;

use super::claimed::Claim;
use super::{LEASE, NEWER_WAIT, QueueError, lock, tenant};
use crate::blobs;
use crate::db::{CommitPoint, Db, TaskKind, blobs as rows, commit, events, jobs, tasks};
use crate::spec::phase::Phase;

/// What a look at the lease tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Go on.
    Held,
    /// The customer wants no more of this job.
    CancelRequested,
    /// Somebody else has the task, or the job has ended.
    Lost,
}

impl LeaseState {
    fn from_row(cancel_requested: Option<bool>) -> Self {
        match cancel_requested {
            None => Self::Lost,
            Some(true) => Self::CancelRequested,
            Some(false) => Self::Held,
        }
    }
}

/// Extends the lease by [`LEASE`] from now.
///
/// # Errors
/// As [`QueueError`].
pub async fn renew(db: &Db, claim: &Claim) -> Result<LeaseState, QueueError> {
    let mut conn = db.connection().await?;
    Ok(LeaseState::from_row(tasks::renew(&mut conn, claim.task, claim.lease, LEASE.as_secs_f64()).await?))
}

/// Looks without extending.
///
/// # Errors
/// As [`QueueError`].
pub async fn look(db: &Db, claim: &Claim) -> Result<LeaseState, QueueError> {
    let mut conn = db.connection().await?;
    Ok(LeaseState::from_row(tasks::look(&mut conn, claim.task, claim.lease).await?))
}

/// How far the task is. A score's own steps are not told: many run at once, and the job counts whole ones. False where
/// the lease is lost, or where the job shows a later phase.
///
/// # Errors
/// As [`QueueError`].
pub async fn tell_progress(db: &Db, claim: &Claim, phase: Phase, done: u64, total: u64) -> Result<bool, QueueError> {
    if claim.kind == TaskKind::Score {
        return Ok(true);
    }
    let mut conn = db.connection().await?;
    let (total, done) = (total as i64, done.min(total) as i64);
    Ok(jobs::set_progress_fenced(&mut conn, claim.task, claim.lease, phase, done, total).await?)
}

/// Appends what the computation has to say. False where the lease is lost.
///
/// # Errors
/// As [`QueueError`].
pub async fn tell_event(db: &Db, claim: &Claim, kind: &str, detail: &Value) -> Result<bool, QueueError> {
    let mut conn = db.connection().await?;
    Ok(events::append_fenced(&mut conn, claim.task, claim.lease, kind, detail).await?)
}

/// Name of the bytes that say where a task stands.
pub const CHECKPOINT: &str = "checkpoint";

/// Keeps where the task stands, in the place of what was kept before. `onward` says that no attempt kept anything that is further: it
/// is durable progress, after which neither a crash nor a failure of this attempt costs anything. False where the lease is lost.
///
/// # Errors
/// As [`QueueError`].
pub async fn keep_checkpoint(db: &Db, claim: &Claim, bytes: &[u8], onward: bool) -> Result<bool, QueueError> {
    let mut tx = db.begin().await?;
    let owner = tenant(&mut tx, claim.job).await?;
    let sha256 = blobs::put_bytes(&mut tx, &owner, bytes).await?;
    let replaced = tasks::replace_blob(&mut tx, claim.task, claim.lease, (CHECKPOINT, &sha256), onward).await?;
    let Some(before) = replaced else { return Ok(false) };
    if let Some(before) = before.filter(|before| *before != sha256) {
        rows::delete_if_unowned(&mut tx, &owner, &before).await?;
    }
    commit(tx, CommitPoint::Checkpoint).await?;
    Ok(true)
}

/// Where an earlier attempt at the task stood.
///
/// # Errors
/// As [`QueueError`].
pub async fn checkpoint(db: &Db, claim: &Claim) -> Result<Option<Vec<u8>>, QueueError> {
    let mut conn = db.connection().await?;
    let sha256 = tasks::blob_of(&mut conn, claim.task, CHECKPOINT).await?;
    let owner = tenant(&mut conn, claim.job).await?;
    drop(conn);
    Ok(match sha256 {
        Some(sha256) => Some(blobs::read(db, &owner, &sha256).await?),
        None => None,
    })
}

/// Gives the task back unharmed, because the worker is asked to end: the attempt does not count. False where the lease
/// is lost.
///
/// # Errors
/// As [`QueueError`].
pub async fn release(db: &Db, claim: &Claim) -> Result<bool, QueueError> {
    give_back(db, claim, None, Duration::ZERO).await
}

/// Gives the task back unharmed, because the worker cannot compute at all: the attempt does not count, and another worker comes first if
/// there is one. `reason` is shown to the customer. False where the lease is lost.
///
/// # Errors
/// As [`QueueError`].
pub async fn decline(db: &Db, claim: &Claim, reason: &str) -> Result<bool, QueueError> {
    give_back(db, claim, Some(reason), Duration::ZERO).await
}

/// Gives the task back unharmed after a while, because a newer worker has to do it: the attempt does not count, and another worker
/// comes first if there is one. `reason` is shown to the customer. False where the lease is lost.
///
/// # Errors
/// As [`QueueError`].
pub async fn leave_to_newer(db: &Db, claim: &Claim, reason: &str) -> Result<bool, QueueError> {
    give_back(db, claim, Some(reason), NEWER_WAIT).await
}

async fn give_back(db: &Db, claim: &Claim, reason: Option<&str>, wait: Duration) -> Result<bool, QueueError> {
    let mut tx = db.begin().await?;
    lock(&mut tx, claim.job).await?;
    if !tasks::release(&mut tx, claim.task, claim.lease, reason.is_some(), wait.as_secs_f64()).await? {
        return Ok(false);
    }
    let mut detail = claim.detail();
    if let Some(reason) = reason {
        detail["reason"] = reason.into();
    }
    events::append(&mut tx, claim.job, "task_released", &detail).await?;
    crate::db::admin::notify(&mut tx, super::listen::TASKS, "").await?;
    commit(tx, CommitPoint::Release).await?;
    Ok(true)
}
