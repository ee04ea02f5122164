//! Jobs. Every change is guarded by `finished_at is null`: a job that is done stays as it is.

use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;

use super::page::page;
use super::{Connection, DbError, JobOutcome, JobPriority, JobStatus, Page};
use crate::ids::{ImageSetId, JobId, ModelId, Tenant};
use crate::spec::phase::Phase;

/// A row of `job`.
#[derive(Debug, Clone, FromRow)]
pub struct JobRow {
    /// Id of the job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The model that was asked for.
    pub model: ModelId,
    /// The image set that was asked for.
    pub images: Option<ImageSetId>,
    /// The settings with defaults resolved, a `spec::config::JobConfig`.
    pub config: Value,
    /// The customer's own notes.
    pub metadata: Value,
    /// Status; terminal ones never change.
    pub status: JobStatus,
    /// Current phase.
    pub phase: Phase,
    /// Steps of the phase that are finished.
    pub progress_done: i64,
    /// Steps of the phase.
    pub progress_total: i64,
    /// What came of it.
    pub outcome: Option<JobOutcome>,
    /// Why it failed, a `Problem`.
    pub error: Option<Value>,
    /// When cancellation was requested.
    pub cancel_requested_at: Option<OffsetDateTime>,
    /// When it ends at the latest.
    pub deadline: OffsetDateTime,
    /// Device that it may be computed on; `None` is any.
    pub device: Option<String>,
    /// Whether it goes before others.
    pub priority: JobPriority,
    /// When it came.
    pub created_at: OffsetDateTime,
    /// When a worker began.
    pub started_at: Option<OffsetDateTime>,
    /// When it was done.
    pub finished_at: Option<OffsetDateTime>,
    /// Number of its last event.
    pub last_event: i64,
}

/// All columns of [`JobRow`].
macro_rules! job_columns {
    () => {
        "id, tenant, model, images, config, metadata, status, phase, progress_done, progress_total, outcome, error,
         cancel_requested_at, deadline, device, priority, created_at, started_at, finished_at, last_event"
    };
}
pub(super) use job_columns;

/// Selects [`JobRow`].
macro_rules! select_job {
    () => {
        concat!("select ", job_columns!(), " from job")
    };
}

/// Columns of a new job.
#[derive(Debug, Clone)]
pub struct NewJob<'a> {
    /// Id of the job.
    pub id: JobId,
    /// Whose it is, and whose model and images these are.
    pub tenant: &'a Tenant,
    /// The model.
    pub model: ModelId,
    /// The image set.
    pub images: Option<ImageSetId>,
    /// The settings with defaults resolved, as JSON.
    pub config: &'a Value,
    /// The customer's own notes.
    pub metadata: &'a Value,
    /// Seconds from now until it ends at the latest.
    pub deadline_seconds: f64,
    /// What it may be computed on: `cpu`, `cuda`, `cuda:N`, or a part of a GPU's name.
    pub device: Option<&'a str>,
    /// Whether it goes before others.
    pub priority: JobPriority,
}

/// Inserts a job; `job_uses_model_fkey` or `job_uses_images_fkey` refuses if an input was deleted meanwhile.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(conn: &mut Connection, job: &NewJob<'_>) -> Result<(), DbError> {
    let insert = sqlx::query(
        "insert into job (id, model, uses_model, images, uses_images, config, metadata, deadline, device, priority, tenant)
         values ($1, $2, $2, $3, $3, $4, $5, now() + make_interval(secs => $6), $7, $8, $9)",
    );
    let insert = insert.bind(job.id).bind(job.model).bind(job.images).bind(job.config).bind(job.metadata);
    insert.bind(job.deadline_seconds).bind(job.device).bind(job.priority).bind(job.tenant).execute(conn).await?;
    Ok(())
}

/// One job of a tenant.
///
/// # Errors
/// As [`DbError`].
pub async fn get(conn: &mut Connection, tenant: &Tenant, id: JobId) -> Result<Option<JobRow>, DbError> {
    let get = sqlx::query_as(concat!(select_job!(), " where id = $1 and tenant = $2"));
    Ok(get.bind(id).bind(tenant).fetch_optional(conn).await?)
}

/// One job, whosever it is: for the queue and its workers.
///
/// # Errors
/// As [`DbError`].
pub async fn find(conn: &mut Connection, id: JobId) -> Result<Option<JobRow>, DbError> {
    let find = sqlx::query_as(concat!(select_job!(), " where id = $1"));
    Ok(find.bind(id).fetch_optional(conn).await?)
}

/// The tenant of a job.
///
/// # Errors
/// As [`DbError`].
pub async fn tenant(conn: &mut Connection, id: JobId) -> Result<Option<Tenant>, DbError> {
    Ok(sqlx::query_scalar("select tenant from job where id = $1").bind(id).fetch_optional(conn).await?)
}

/// One job, locked until the transaction ends: every change of a job or its tasks begins here.
///
/// # Errors
/// As [`DbError`].
pub async fn lock(conn: &mut Connection, id: JobId) -> Result<Option<JobRow>, DbError> {
    let lock = sqlx::query_as(concat!(select_job!(), " where id = $1 for update"));
    Ok(lock.bind(id).fetch_optional(conn).await?)
}

/// A page of a tenant's jobs, of one status or model if given.
///
/// # Errors
/// As [`DbError`].
pub async fn list(
    conn: &mut Connection,
    tenant: &Tenant,
    page: Page,
    status: Option<JobStatus>,
    model: Option<ModelId>,
) -> Result<Vec<JobRow>, DbError> {
    // Each combination is a statement of its own and reads a range of an index of its own.
    let list = match (status, model) {
        (None, None) => page.query(page!(select_job!(), "true", "tenant", "$3")).bind(tenant),
        (Some(status), None) => {
            page.query(page!(select_job!(), "tenant = $3", "status", "$4")).bind(tenant).bind(status)
        }
        (None, Some(model)) => page.query(page!(select_job!(), "tenant = $3", "model", "$4")).bind(tenant).bind(model),
        (Some(status), Some(model)) => {
            let both = page!(select_job!(), "tenant = $3 and model = $5", "status", "$4", nulls);
            page.query(both).bind(tenant).bind(status).bind(model)
        }
    };
    Ok(list.fetch_all(conn).await?)
}

/// Marks a queued job as running. False if it was not queued.
///
/// # Errors
/// As [`DbError`].
pub async fn start(conn: &mut Connection, id: JobId) -> Result<bool, DbError> {
    let start =
        sqlx::query("update job set status = 'running', started_at = now() where id = $1 and status = 'queued'");
    Ok(start.bind(id).execute(conn).await?.rows_affected() == 1)
}

/// Sets the phase of a job from its tasks. A phase never goes back.
///
/// # Errors
/// As [`DbError`].
pub async fn set_phase(conn: &mut Connection, id: JobId, phase: Phase, done: i64, total: i64) -> Result<bool, DbError> {
    let set = sqlx::query(
        "update job set phase = $2, progress_done = $3, progress_total = $4
         where id = $1 and finished_at is null and phase <= $2",
    );
    Ok(set.bind(id).bind(phase).bind(done).bind(total).execute(conn).await?.rows_affected() == 1)
}

/// Stores a worker's progress, only while it holds the lease.
///
/// # Errors
/// As [`DbError`].
pub async fn set_progress_fenced(
    conn: &mut Connection,
    task: crate::ids::TaskId,
    lease: i64,
    phase: Phase,
    done: i64,
    total: i64,
) -> Result<bool, DbError> {
    let set = sqlx::query(
        "update job set phase = $3, progress_done = $4, progress_total = $5
         where finished_at is null and phase <= $3
           and id = (select job from task where id = $1 and lease = $2 and state = 'running')",
    );
    let set = set.bind(task).bind(lease).bind(phase).bind(done).bind(total);
    Ok(set.execute(conn).await?.rows_affected() == 1)
}

/// How a job ends.
#[derive(Debug, Clone)]
pub struct Ending<'a> {
    /// One of the four that are done.
    pub status: JobStatus,
    /// With `succeeded`.
    pub outcome: Option<JobOutcome>,
    /// With `failed` and `expired`.
    pub error: Option<&'a Value>,
}

/// Ends a job that is not done. False if it is done.
///
/// # Errors
/// As [`DbError`].
pub async fn finish(conn: &mut Connection, id: JobId, ending: &Ending<'_>) -> Result<bool, DbError> {
    let finish = sqlx::query(
        "update job set status = $2, outcome = $3, error = $4, finished_at = now(),
                        progress_done = case when $2 = 'succeeded' then progress_total else progress_done end
         where id = $1 and finished_at is null",
    );
    let finish = finish.bind(id).bind(ending.status).bind(ending.outcome).bind(ending.error);
    Ok(finish.execute(conn).await?.rows_affected() == 1)
}

/// Requests cancellation of a job. False if it is done, or if cancellation was already requested.
///
/// # Errors
/// As [`DbError`].
pub async fn request_cancel(conn: &mut Connection, id: JobId) -> Result<bool, DbError> {
    let request = sqlx::query(
        "update job set cancel_requested_at = now() where id = $1 and finished_at is null and cancel_requested_at is null",
    );
    Ok(request.bind(id).execute(conn).await?.rows_affected() == 1)
}

/// Jobs that any process may end: past their deadline, or cancelled longer than `patience` seconds ago without word from their
/// workers.
///
/// # Errors
/// As [`DbError`].
pub async fn overdue(conn: &mut Connection, patience: f64) -> Result<Vec<JobId>, DbError> {
    // The first condition is a range of `job_by_end`: jobs within their deadline are not read.
    let overdue = sqlx::query_scalar(
        "select id from job
         where finished_at is null and least(deadline, cancel_requested_at) <= now()
           and (deadline <= now() or cancel_requested_at <= now() - make_interval(secs => $1))",
    );
    Ok(overdue.bind(patience).fetch_all(conn).await?)
}

/// True if the job's deadline has passed, by the database's clock.
///
/// # Errors
/// As [`DbError`].
pub async fn is_past_deadline(conn: &mut Connection, id: JobId) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar("select deadline <= now() from job where id = $1").bind(id).fetch_one(conn).await?)
}
