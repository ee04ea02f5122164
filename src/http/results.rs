//! Results of a job: `/v1/jobs/{id}/blocks`, `/report`, `/artifacts`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::auth::Caller;
use super::extract::{Id, Name};
use super::list::List;
use super::{App, HttpError, download, idempotency};
use crate::db::artifacts;
use crate::db::artifacts::ArtifactRow;
use crate::db::jobs::JobRow;
use crate::ids::JobId;
use crate::problem::{Code, Problem};
use crate::service::jobs::{self, results};
use crate::spec::report::BlockRow;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/jobs/{id}/blocks", get(blocks))
        .route("/v1/jobs/{id}/report", get(report))
        .route("/v1/jobs/{id}/artifacts", get(list))
        .route("/v1/jobs/{id}/artifacts/{name}", get(artifact))
}

async fn report(State(app): State<App>, caller: Caller, Id(id): Id<JobId>) -> Result<Response, HttpError> {
    match results::report(&app.context, &caller.tenant, id).await? {
        (_, Some(body)) => Ok(idempotency::json(body).into_response()),
        (job, None) => Err(not_ready(&job)),
    }
}

fn not_ready(job: &JobRow) -> HttpError {
    let status = serde_json::to_value(job.status).unwrap_or_default();
    let status = status.as_str().unwrap_or_default();
    let detail = if job.status.is_done() {
        format!("job {} is {status}: there will be no report", job.id)
    } else {
        format!("job {} is {status}, in phase {}", job.id, job.phase.as_str())
    };
    Problem { retryable: !job.status.is_done(), ..Problem::new(Code::ReportNotReady, detail) }.into()
}

#[derive(Debug, Serialize)]
struct Artifact {
    object: &'static str,
    name: String,
    media_type: String,
    bytes: i64,
    sha256: String,
    href: String,
}

async fn list(State(app): State<App>, caller: Caller, Id(id): Id<JobId>) -> Result<Json<List<Artifact>>, HttpError> {
    jobs::get(&app.context, &caller.tenant, id).await?;
    let mut conn = app.context.db.connection().await?;
    let rows = artifacts::list(&mut conn, id).await?.into_iter();
    let artifacts = rows.map(|ArtifactRow { name, media_type, sha256, size }| Artifact {
        object: "artifact",
        href: format!("/v1/jobs/{id}/artifacts/{name}"),
        name,
        media_type,
        bytes: size,
        sha256,
    });
    Ok(Json(List::whole(artifacts.collect())))
}

async fn artifact(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<JobId>,
    Name(name): Name,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    jobs::get(&app.context, &caller.tenant, id).await?;
    let mut conn = app.context.db.connection().await?;
    // Names that no artifact has are not queried: they can contain a NUL character, which PostgreSQL does not accept.
    let found = match name.contains('\0') {
        true => None,
        false => artifacts::get(&mut conn, id, &name).await?,
    };
    let Some(row) = found else {
        return Err(Problem::new(Code::ArtifactNotFound, format!("job {id} has no artifact {name:?}")).into());
    };
    drop(conn);
    let file = download::File {
        tenant: caller.tenant,
        sha256: row.sha256,
        size: row.size,
        media_type: row.media_type,
        name: row.name,
    };
    download::answer(app.context.db, file, &headers)
}

/// Every residual addition of the job's model, with what was found out about it so far.
async fn blocks(State(app): State<App>, caller: Caller, Id(id): Id<JobId>) -> Result<Json<List<BlockRow>>, HttpError> {
    Ok(Json(List::whole(results::blocks(&app.context, &caller.tenant, id).await?)))
}
