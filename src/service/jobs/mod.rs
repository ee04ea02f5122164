//! Jobs: submitted, looked at, cancelled.

mod device;
mod fitting;
pub mod results;
mod submission;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::idempotency::{Answer, Idempotency, Once, Posted};
use super::{Context, ServiceError, refuse};
use crate::db::jobs::{self, JobRow, NewJob};
use crate::db::polls::PollRow;
use crate::db::{CommitPoint, Connection, DbError, workers};
use crate::ids::{JobId, Tenant};
use crate::problem::Code;
use crate::queue::cancel::{self, Cancelling};
use crate::queue::{AGEING, QueueError, caps, submit as queue};

pub use device::Notice;
use device::Wanted;
use fitting::Subject;
use submission::Submission;

/// Submits a job, durable once this returns, and says what the customer should know about it. `answer` writes the response's body, which is stored under the Idempotency-Key in the same transaction. All that is
/// checked is checked before the transaction begins, and on a thread that may block.
///
/// # Errors
/// All faults of the body, or what does not fit between model, images and settings, as a refusal; else as
/// [`ServiceError`].
pub async fn submit(
    context: &Context,
    tenant: &Tenant,
    body: Map<String, Value>,
    key: Option<&Idempotency>,
    answer: impl Fn(&JobRow, &[Notice]) -> Result<String, ServiceError> + Send,
) -> Result<Posted<(JobRow, Vec<Notice>)>, ServiceError> {
    if let Some(before) = Once::before(&context.db, key).await? {
        return Ok(Posted::Before(before));
    }
    let (submission, blocks) = checked(context, tenant, Submission::read_apart(body).await?).await?;
    let notices = notices(context, &submission).await?;
    let mut once = match Once::begin(&context.db, key).await? {
        Posted::Before(before) => return Ok(Posted::Before(before)),
        Posted::Done(once) => once,
    };
    let row = insert(once.conn(), tenant, &submission, &blocks).await?;
    let location = format!("/v1/jobs/{}", row.id);
    let answer = Answer { status: 202, location, body: answer(&row, &notices)? };
    once.commit(CommitPoint::Submit, answer).await?;
    Ok(Posted::Done((row, notices)))
}

/// The submission with the blocks that may be dropped, checked against what it names.
async fn checked(
    context: &Context,
    tenant: &Tenant,
    submission: Submission,
) -> Result<(Submission, Vec<String>), ServiceError> {
    let mut conn = context.db.connection().await?;
    let subject = Subject::fetch(&mut conn, tenant, &submission).await?;
    drop(conn);
    let checking = tokio::task::spawn_blocking(move || {
        let blocks = subject.blocks_of(&submission.config)?;
        Ok::<_, ServiceError>((submission, blocks))
    });
    checking.await?
}

/// What the customer should know about a job that is accepted.
async fn notices(context: &Context, submission: &Submission) -> Result<Vec<Notice>, ServiceError> {
    let Some(wanted) = &submission.device else { return Ok(Vec::new()) };
    let mut conn = context.db.connection().await?;
    Ok(wanted.missing_from(&workers::live(&mut conn).await?).into_iter().collect())
}

async fn insert(
    conn: &mut Connection,
    tenant: &Tenant,
    submission: &Submission,
    blocks: &[String],
) -> Result<JobRow, ServiceError> {
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    if let Some(cap) = caps::queue_is_full(conn, tenant).await? {
        let detail = format!("tenant {tenant} has {cap} queued jobs, its limit (max_queued); this job was not stored");
        return refuse(Code::QueueFull, detail);
    }
    let id = JobId::new();
    let config = serde_json::to_value(&submission.config).map_err(std::io::Error::other)?;
    let job = NewJob {
        id,
        tenant,
        model: submission.model,
        images: submission.images,
        config: &config,
        metadata: &submission.metadata,
        deadline_seconds: submission.deadline_seconds as f64,
        device: submission.device.as_ref().map(Wanted::as_str),
        priority: submission.priority,
    };
    queue::submit(conn, &job, &blocks).await.map_err(|error| deleted_meanwhile(error, submission))?;
    match jobs::get(conn, tenant, id).await? {
        Some(row) => Ok(row),
        None => refuse(Code::Internal, "the job that was just stored is not there"),
    }
}

/// An input that was there when it was checked, and is not any more.
fn deleted_meanwhile(error: QueueError, submission: &Submission) -> ServiceError {
    let refused = match &error {
        QueueError::Db(DbError::Constraint { name, .. }) if name == "job_uses_model_fkey" => {
            refuse(Code::ModelNotFound, format!("there is no model {}", submission.model))
        }
        QueueError::Db(DbError::Constraint { name, .. }) if name == "job_uses_images_fkey" => {
            let id = submission.images.map(|id| id.to_string()).unwrap_or_default();
            refuse(Code::ImageSetNotFound, format!("there is no image set {id}"))
        }
        _ => Ok(()),
    };
    refused.err().unwrap_or_else(|| error.into())
}

/// One job.
///
/// # Errors
/// A refusal if it is not there; else as [`ServiceError`].
pub async fn get(context: &Context, tenant: &Tenant, id: JobId) -> Result<JobRow, ServiceError> {
    let mut conn = context.db.connection().await?;
    match jobs::get(&mut conn, tenant, id).await? {
        Some(row) => Ok(row),
        None => refuse(Code::JobNotFound, format!("there is no job {id}")),
    }
}

/// One job, with how many queued jobs of its tenant go before it.
///
/// # Errors
/// A refusal if it is not there; else as [`ServiceError`].
pub async fn poll(context: &Context, tenant: &Tenant, id: JobId) -> Result<Arc<PollRow>, ServiceError> {
    match context.db.poll(tenant, id, AGEING.as_secs() as u32).await? {
        Some(row) => Ok(row),
        None => refuse(Code::JobNotFound, format!("there is no job {id}")),
    }
}

/// Cancels a job; the flag is true if it has ended.
///
/// # Errors
/// A refusal if it is not there, or ended otherwise; else as [`ServiceError`].
pub async fn cancel(context: &Context, tenant: &Tenant, id: JobId) -> Result<bool, ServiceError> {
    get(context, tenant, id).await?;
    match cancel::request(&context.db, id).await {
        Ok(Cancelling::Cancelled) => Ok(true),
        Ok(Cancelling::Requested) => Ok(false),
        Ok(Cancelling::Done(status)) => {
            let status = serde_json::to_value(status).unwrap_or_default();
            refuse(Code::JobDone, format!("job {id} is already {}", status.as_str().unwrap_or("done")))
        }
        Err(QueueError::NoSuchJob(_)) => refuse(Code::JobNotFound, format!("there is no job {id}")),
        Err(error) => Err(error.into()),
    }
}
