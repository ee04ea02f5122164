//! A task is done: its result, its bytes, its event and what follows are one transaction, fenced by the lease. The last
//! task brings report, artifacts, terminal status and final event in the same one.

use serde_json::{Value, json};

use super::claimed::Claim;
use super::flow::{self, Next};
use super::{QueueError, cancel, listen, lock_unfinished, scores, tenant};
use crate::blobs;
use crate::db::artifacts::{self, ArtifactRow};
use crate::db::jobs::{Ending, JobRow};
use crate::db::{CommitPoint, Connection, Db, JobOutcome, JobStatus, TaskKind, admin, commit, events, jobs, tasks};
use crate::ids::Tenant;

/// What a task brings.
#[derive(Debug, Default)]
pub struct Done {
    /// Its result, for the tasks that follow and for people to look at.
    pub result: Value,
    /// Bytes for the tasks that follow, by name.
    pub blobs: Vec<(&'static str, Vec<u8>)>,
    /// What the last task brings besides.
    pub last: Option<Finished>,
}

/// What the last task of a job brings.
#[derive(Debug)]
pub struct Finished {
    /// What came of the job.
    pub outcome: JobOutcome,
    /// The report as JSON text.
    pub report: String,
    /// The files that the customer downloads.
    pub artifacts: Vec<File>,
}

/// A file that the customer downloads.
#[derive(Debug)]
pub struct File {
    /// File name.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The result is stored.
    Stored,
    /// The customer had asked for the job's end: the result is dropped and the task is cancelled.
    Cancelled,
}

/// Stores what a task brings.
///
/// # Errors
/// [`QueueError::LeaseLost`] where the lease moved on: then nothing was changed. Else as [`QueueError`].
pub async fn complete(db: &Db, claim: &Claim, done: &Done) -> Result<Completion, QueueError> {
    let mut tx = db.begin().await?;
    // Bytes first: copying them may take a while, and nobody waits for a blob as for the job's row.
    let owner = tenant(&mut tx, claim.job).await?;
    let blobs = put_all(&mut tx, &owner, done).await?;
    let job = lock_unfinished(&mut tx, claim).await?;
    if job.cancel_requested_at.is_some() {
        drop(tx);
        cancel::acknowledge(db, claim).await?;
        return Ok(Completion::Cancelled);
    }
    if !tasks::complete(&mut tx, claim.task, claim.lease, &done.result).await? {
        return Err(QueueError::LeaseLost);
    }
    if let Some(block) = &claim.block {
        scores::keep(&mut tx, &job, block, &done.result).await?;
    }
    for (name, sha256) in &blobs.between {
        tasks::insert_blob(&mut tx, claim.task, name, sha256).await?;
    }
    events::append(&mut tx, claim.job, "task_done", &claim.detail()).await?;
    go_on(&mut tx, claim, &job, done.last.as_ref(), &blobs.artifacts).await?;
    commit(tx, CommitPoint::Complete).await?;
    Ok(Completion::Stored)
}

struct Stored {
    between: Vec<(&'static str, String)>,
    artifacts: Vec<ArtifactRow>,
}

async fn put_all(conn: &mut Connection, owner: &Tenant, done: &Done) -> Result<Stored, QueueError> {
    let mut stored = Stored { between: Vec::new(), artifacts: Vec::new() };
    for (name, bytes) in &done.blobs {
        stored.between.push((name, blobs::put_bytes(conn, owner, bytes).await?));
    }
    for File { name, media_type, bytes } in done.last.iter().flat_map(|last| &last.artifacts) {
        let sha256 = blobs::put_bytes(conn, owner, bytes).await?;
        let (name, media_type, size) = (name.clone(), media_type.clone(), bytes.len() as i64);
        stored.artifacts.push(ArtifactRow { name, media_type, sha256, size });
    }
    Ok(stored)
}

async fn go_on(
    conn: &mut Connection,
    claim: &Claim,
    job: &JobRow,
    last: Option<&Finished>,
    artifacts: &[ArtifactRow],
) -> Result<(), QueueError> {
    let all = tasks::of_job(conn, claim.job).await?;
    match flow::next(claim.kind, &all, super::config(job)?.finetune.0.is_some()) {
        Next::Wait => tell_position(conn, claim, &all).await,
        Next::Task(kind) => make(conn, claim, kind).await,
        Next::Finish => finish(conn, claim, last, artifacts).await,
    }
}

async fn tell_position(conn: &mut Connection, claim: &Claim, all: &[tasks::TaskRow]) -> Result<(), QueueError> {
    let (phase, done, total) = flow::position(all);
    jobs::set_phase(conn, claim.job, phase, done, total).await?;
    Ok(())
}

async fn make(conn: &mut Connection, claim: &Claim, kind: TaskKind) -> Result<(), QueueError> {
    tasks::insert(conn, claim.job, kind, &[None]).await?;
    let all = tasks::of_job(conn, claim.job).await?;
    tell_position(conn, claim, &all).await?;
    admin::notify(conn, listen::TASKS, "").await?;
    Ok(())
}

async fn finish(
    conn: &mut Connection,
    claim: &Claim,
    last: Option<&Finished>,
    files: &[ArtifactRow],
) -> Result<(), QueueError> {
    let last = last.ok_or_else(|| QueueError::Io(std::io::Error::other("the last task brought no report")))?;
    artifacts::insert_report(conn, claim.job, &last.report).await?;
    for artifact in files {
        artifacts::insert(conn, claim.job, artifact).await?;
    }
    events::append(conn, claim.job, "succeeded", &json!({ "outcome": last.outcome })).await?;
    let ending = Ending { status: JobStatus::Succeeded, outcome: Some(last.outcome), error: None };
    // The lock is held and the job was not done: this cannot miss, and if it did nothing must be committed.
    if jobs::finish(conn, claim.job, &ending).await? { Ok(()) } else { Err(QueueError::LeaseLost) }
}
