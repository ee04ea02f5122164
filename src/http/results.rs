//! Results of a job: `/v1/jobs/{id}/blocks`, `/report`, `/artifacts`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Map, Value};

use super::auth::Caller;
use super::extract::{Id, Name};
use super::list::List;
use super::{App, HttpError, download, idempotency};
use crate::db::artifacts::ArtifactRow;
use crate::db::jobs::JobRow;
use crate::db::tasks::TaskRow;
use crate::db::{Connection, TaskKind, artifacts, models as model_rows, tasks};
use crate::ids::JobId;
use crate::problem::{Code, Problem};
use crate::service::{jobs, models};

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/jobs/{id}/blocks", get(blocks))
        .route("/v1/jobs/{id}/report", get(report))
        .route("/v1/jobs/{id}/artifacts", get(list))
        .route("/v1/jobs/{id}/artifacts/{name}", get(artifact))
}

async fn report(State(app): State<App>, caller: Caller, Id(id): Id<JobId>) -> Result<Response, HttpError> {
    let job = jobs::get(&app.context, &caller.tenant, id).await?;
    let mut conn = app.context.db.connection().await?;
    match artifacts::report(&mut conn, id).await? {
        Some(body) => Ok(idempotency::json(body).into_response()),
        None => Err(not_ready(&job)),
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

/// Every residual addition of the job's model, with the results so far.
async fn blocks(State(app): State<App>, caller: Caller, Id(id): Id<JobId>) -> Result<Json<List<Value>>, HttpError> {
    let job = jobs::get(&app.context, &caller.tenant, id).await?;
    let mut conn = app.context.db.connection().await?;
    if let Some(text) = artifacts::report(&mut conn, id).await? {
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        return Ok(Json(List::whole(report["blocks"].as_array().cloned().unwrap_or_default())));
    }
    Ok(Json(List::whole(rows_so_far(&mut conn, &job).await?)))
}

async fn rows_so_far(conn: &mut Connection, job: &JobRow) -> Result<Vec<Value>, HttpError> {
    let tasks = tasks::of_job(conn, job.id).await?;
    let blocks = match model_rows::get(conn, &job.tenant, job.model).await? {
        Some(model) => models::analysis(&model)?.blocks,
        None => Vec::new(),
    };
    let rows = blocks.iter().filter_map(|block| match serde_json::to_value(block) {
        Ok(Value::Object(row)) => Some(with_findings(row, &block.name, &tasks)),
        _ => None,
    });
    Ok(rows.collect())
}

/// Adds the results of finished tasks to a block, under the report's field names.
fn with_findings(mut row: Map<String, Value>, name: &str, tasks: &[TaskRow]) -> Value {
    let result = |kind, block: Option<&str>| {
        let task = tasks.iter().find(|task| task.kind == kind && task.block.as_deref() == block);
        task.and_then(|task| task.result.as_ref())
    };
    let scored = result(TaskKind::Score, Some(name)).and_then(|score| score.get("recoverability"));
    let measured = result(TaskKind::Measure, None).and_then(|measured| measured.pointer("/reductions")?.get(name));
    let selected = result(TaskKind::Select, None);
    let ranked = selected.and_then(|selection| selection.get("ranking")?.as_array());
    let ranked = ranked.and_then(|ranking| ranking.iter().find(|ranked| ranked["block"] == name));
    let dropped = selected.and_then(|selection| selection.get("dropped")?.as_array());
    let findings = [
        ("recoverability", scored.cloned()),
        ("latency_reduction", measured.and_then(|single| single.get("reduction")).cloned()),
        ("score", ranked.and_then(|ranked| ranked.get("score")).cloned()),
        ("dropped", dropped.map(|names| names.iter().any(|dropped| dropped == name).into())),
    ];
    row.extend(findings.into_iter().filter_map(|(key, found)| Some((key.to_owned(), found?))));
    Value::Object(row)
}
