//! `GET /v1/limits`: limits of requests, uploads and the caller's tenant.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::auth::Caller;
use super::{App, HttpError, listener};
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
    /// Limit and number of running tasks; null is no limit.
    max_running: Option<i32>,
    running_tasks: i64,
    /// Limit and number of queued jobs; null is no limit.
    max_queued: Option<i32>,
    queued_jobs: i64,
    /// Bytes of a model, and of a JSON body.
    model_bytes: u64,
    json_bytes: usize,
    /// Of one image set.
    images: images::Limits,
    connections: Connections,
}

/// Limits on connections, and the time limits of clients, in seconds.
#[derive(Debug, Serialize)]
struct Connections {
    max: usize,
    max_per_address: usize,
    head_seconds: f64,
    body_idle_seconds: f64,
    write_idle_seconds: f64,
    keep_alive_seconds: f64,
    least_bytes_per_second: u32,
}

impl From<&listener::Limits> for Connections {
    fn from(limits: &listener::Limits) -> Self {
        Self {
            max: limits.connections,
            max_per_address: limits.per_peer.of_others(limits.connections),
            head_seconds: limits.head.as_secs_f64(),
            body_idle_seconds: limits.body.as_secs_f64(),
            write_idle_seconds: limits.write.as_secs_f64(),
            keep_alive_seconds: limits.idle.as_secs_f64(),
            least_bytes_per_second: listener::LEAST_RATE,
        }
    }
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
        connections: Connections::from(&app.connections),
        tenant,
    }))
}
