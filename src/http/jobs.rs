//! `/v1/jobs`: submit, read, list and cancel jobs.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;

use super::auth::Caller;
use super::extract::{Id, JsonObject};
use super::idempotency;
use super::list::{List, ListParams};
use super::query::{FromQuery, Parameters, Params};
use super::{App, HttpError};
use crate::db::jobs as rows;
use crate::db::jobs::JobRow;
use crate::db::{JobOutcome, JobPriority, JobStatus};
use crate::ids::{ImageSetId, JobId, ModelId};
use crate::problem::Problem;
use crate::service::idempotency::Posted;
use crate::service::jobs::{self, Notice};
use crate::spec::config::JobConfig;
use crate::spec::phase::Phase;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/jobs", get(list).post(submit))
        .route("/v1/jobs/{id}", get(show))
        .route("/v1/jobs/{id}/cancel", post(cancel))
}

#[derive(Debug, Serialize)]
struct Job {
    object: &'static str,
    id: JobId,
    status: JobStatus,
    done: bool,
    phase: Phase,
    progress: Progress,
    /// Queued jobs of the same tenant that go before this one, 200 at most; only while it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<i64>,
    outcome: Option<JobOutcome>,
    error: Option<Stored<Problem>>,
    cancel_requested: bool,
    model: ModelId,
    images: Option<ImageSetId>,
    config: Stored<JobConfig>,
    metadata: Value,
    device: Option<String>,
    priority: JobPriority,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    deadline: OffsetDateTime,
    /// Warnings about an accepted job; only in the response to its submission.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Notice>,
}

#[derive(Debug, Serialize)]
struct Progress {
    done: i64,
    total: i64,
}

/// Stored JSON with its fields in the documented order, or unchanged if another version wrote it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Stored<T> {
    Known(Box<T>),
    Other(Value),
}

impl<T: DeserializeOwned> From<&Value> for Stored<T> {
    fn from(value: &Value) -> Self {
        T::deserialize(value).map_or_else(|_| Self::Other(value.clone()), |known| Self::Known(Box::new(known)))
    }
}

impl From<&JobRow> for Job {
    fn from(row: &JobRow) -> Self {
        Self {
            object: "job",
            id: row.id,
            status: row.status,
            done: row.status.is_done(),
            phase: row.phase,
            progress: Progress { done: row.progress_done, total: row.progress_total },
            queue_position: None,
            outcome: row.outcome,
            error: row.error.as_ref().map(Stored::from),
            cancel_requested: row.cancel_requested_at.is_some(),
            model: row.model,
            images: row.images,
            config: Stored::from(&row.config),
            metadata: row.metadata.clone(),
            device: row.device.clone(),
            priority: row.priority,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            deadline: row.deadline,
            warnings: Vec::new(),
        }
    }
}

async fn submit(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, HttpError> {
    let key = idempotency::key(&headers, &caller, "POST /v1/jobs", body.sha256)?;
    let answer =
        |row: &JobRow, notices: &[Notice]| idempotency::text(&Job { warnings: notices.to_vec(), ..Job::from(row) });
    match jobs::submit(&app.context, &caller.tenant, body.object, key.as_ref(), answer).await? {
        Posted::Before(answer) => Ok(idempotency::replay(&answer)),
        Posted::Done((row, notices)) => {
            let location = format!("/v1/jobs/{}", row.id);
            let body = idempotency::json(answer(&row, &notices)?);
            Ok((StatusCode::ACCEPTED, [(LOCATION, location)], body).into_response())
        }
    }
}

#[derive(Debug)]
struct JobListParams {
    page: ListParams,
    status: Option<JobStatus>,
    model: Option<ModelId>,
}

impl FromQuery for JobListParams {
    fn read(query: &mut Parameters) -> Self {
        Self {
            page: ListParams::read(query),
            status: query.take_name("status", "queued, running, succeeded, failed, cancelled or expired"),
            model: query.take("model", "a model's id"),
        }
    }
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<JobListParams>,
) -> Result<Json<List<Job>>, HttpError> {
    let page = params.page.page()?;
    let mut conn = app.context.db.connection().await?;
    let jobs =
        rows::list(&mut conn, &caller.tenant, page, params.status, params.model).await?.iter().map(Job::from).collect();
    Ok(Json(List::new(jobs, page.limit - 1, |job: &Job| job.id.to_string())))
}

async fn show(State(app): State<App>, caller: Caller, Id(id): Id<JobId>) -> Result<Json<Job>, HttpError> {
    Ok(Json(look(&app, &caller, id).await?))
}

async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<(StatusCode, Json<Job>), HttpError> {
    let ended = jobs::cancel(&app.context, &caller.tenant, id).await?;
    let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(look(&app, &caller, id).await?)))
}

async fn look(app: &App, caller: &Caller, id: JobId) -> Result<Job, HttpError> {
    let found = jobs::poll(&app.context, &caller.tenant, id).await?;
    Ok(Job { queue_position: found.queue_position, ..Job::from(&found.job) })
}
