//! The queue: what happens to jobs and tasks, each change one transaction.
//!
//! A task is taken by [`claim`], kept by [`lease`] while its worker lives, and ended by [`complete`] or [`fail`]; all of them
//! name the claim's lease number and change nothing once it moved on. [`flow`] says what follows what. [`cancel`] and [`rescue`]
//! end jobs from outside; [`caps`] holds what a tenant may have at once; [`listen`] wakes workers early, and everything works
//! without it. [`doctor`] looks over it all.

pub mod cancel;
pub mod caps;
pub mod claim;
pub mod claimed;
pub mod complete;
pub mod doctor;
pub mod fail;
pub mod flow;
pub mod lease;
pub mod listen;
pub mod rescue;
pub mod scores;
pub mod submit;

use std::time::Duration;

use serde::Deserialize;

use crate::blobs::BlobError;
pub use crate::db::claims::{MAX_ATTEMPTS, MAX_CRASHES};
use crate::db::jobs::JobRow;
use crate::db::{Connection, DbError};
use crate::ids::JobId;
use crate::spec::config::JobConfig;
use claimed::Claim;

/// How long a claim lasts without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(45);

/// How often a worker extends its lease.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often a worker looks for work, and whether to stop, without being told.
pub const POLL: Duration = Duration::from_secs(2);

/// How long a task waits after its second crash; twice as long after each further one, so that all crashes take two minutes at least
/// and no burst of kills uses them up. The first one waits for nothing.
pub const CRASH_WAIT: Duration = Duration::from_secs(2);

/// How long a task that failed is left to other workers than the one it failed on, if there are any.
pub const PRECEDENCE: Duration = Duration::from_secs(60);

/// How long a task waits that a worker gave back because its job is of a newer version: a pool that is being upgraded has newer workers
/// soon, and one that is not must not claim it over and over.
pub const NEWER_WAIT: Duration = Duration::from_secs(15);

/// How many tasks fail in a row on a worker until it counts as unhealthy.
pub const UNHEALTHY_AFTER: i32 = 3;

/// How long a job waits until it rises by one class of priority. A whole job takes minutes, so an urgent one has its head start,
/// and a low one stands beside new high ones after an hour, whatever comes in meanwhile.
pub const AGEING: Duration = Duration::from_secs(30 * 60);

/// How long the workers of a cancelled job may take to say that they stopped, before the job ends without their word.
pub const CANCEL_PATIENCE: Duration = Duration::from_secs(3);

/// Why a change of the queue did not happen.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database refused or did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Another attempt, or the job's end, took the lease away: what was computed is dropped.
    #[error("the lease was lost")]
    LeaseLost,
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// A newer version has accepted the job, and asks for something that this one does not know.
    #[error("this version cannot read the job's settings: {0}")]
    NewerJob(serde_json::Error),
    /// Stored bytes are damaged.
    #[error(transparent)]
    Blob(BlobError),
    /// A file of ours could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<BlobError> for QueueError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Db(error) => Self::Db(error),
            BlobError::Io(error) => Self::Io(error),
            error @ BlobError::Damaged { .. } => Self::Blob(error),
        }
    }
}

/// The settings of a job.
///
/// # Errors
/// [`QueueError::NewerJob`] if they hold something that this version does not know.
pub fn config(job: &JobRow) -> Result<JobConfig, QueueError> {
    JobConfig::deserialize(&job.config).map_err(QueueError::NewerJob)
}

/// Locks a job's row until the transaction ends; whatever changes a job or its tasks does so first.
async fn lock(conn: &mut Connection, id: JobId) -> Result<JobRow, QueueError> {
    crate::db::jobs::lock(conn, id).await?.ok_or(QueueError::NoSuchJob(id))
}

/// The same for the holder of a lease, which is lost where the job is done.
async fn lock_unfinished(conn: &mut Connection, claim: &Claim) -> Result<JobRow, QueueError> {
    let job = lock(conn, claim.job).await?;
    if job.status.is_done() { Err(QueueError::LeaseLost) } else { Ok(job) }
}

/// The tenant of a job, whose bytes are kept apart from those of others.
pub async fn tenant(conn: &mut Connection, job: JobId) -> Result<crate::ids::Tenant, QueueError> {
    crate::db::jobs::tenant(conn, job).await?.ok_or(QueueError::NoSuchJob(job))
}

/// What is stored as an error of a job: a problem as JSON.
fn to_json(problem: &crate::problem::Problem) -> serde_json::Value {
    serde_json::to_value(problem).unwrap_or_default()
}
