//! `/healthz`: the process lives. `/readyz`: it can do its work.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{App, HttpError};
use crate::db::{admin, workers};
use crate::problem::{Code, Problem};

pub(super) fn router() -> Router<App> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

async fn ready(State(app): State<App>) -> Result<Json<Value>, HttpError> {
    let mut conn = app.context.db.connection().await?;
    admin::ping(&mut conn).await?;
    // A folder that takes no file takes no upload.
    tempfile::tempfile_in(&app.context.spool).map_err(|error| {
        tracing::error!("uploads cannot be spooled: {error}");
        Problem::new(Code::NotReady, "uploads cannot be spooled; the log says why")
    })?;
    let workers = workers::live(&mut conn).await?;
    if app.has_workers && workers.is_empty() {
        return Err(Problem::new(Code::NotReady, "no worker has started yet").into());
    }
    let workers: Vec<Value> =
        workers.iter().map(|worker| json!({ "id": worker.id, "host": worker.host, "device": worker.device })).collect();
    Ok(Json(json!({ "status": "ready", "database": "ok", "spool": "ok", "workers": workers })))
}
