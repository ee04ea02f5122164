//! `GET /v1/limits`: how much a request, an upload and the caller's tenant may hold.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::auth::Caller;
use super::{App, HttpError};
use crate::db::tenants;
use crate::ids::Tenant;
use crate::images;

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/limits", get(show))
}

#[derive(Debug, Serialize)]
struct Shown {
    object: &'static str,
    tenant: Tenant,
    /// Tasks at once, and how many there are; null is no cap.
    max_running: Option<i32>,
    running_tasks: i64,
    /// Jobs that wait, likewise.
    max_queued: Option<i32>,
    queued_jobs: i64,
    /// Bytes of a model, and of a JSON body.
    model_bytes: u64,
    json_bytes: usize,
    /// Of one image set.
    images: images::Limits,
}

async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Shown>, HttpError> {
    let mut conn = app.context.db.connection().await?;
    let tenant = caller.tenant;
    let caps = tenants::caps(&mut conn, &tenant).await?;
    let limits = &app.context.limits;
    Ok(Json(Shown {
        object: "limits",
        max_running: caps.max_running,
        running_tasks: tenants::running(&mut conn, &tenant).await?,
        max_queued: caps.max_queued,
        queued_jobs: tenants::queued(&mut conn, &tenant).await?,
        model_bytes: limits.model_bytes,
        json_bytes: limits.json_bytes,
        images: limits.images.clone(),
        tenant,
    }))
}
