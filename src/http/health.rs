//! `/healthz`: the process is alive. `/readyz`: it can do its work.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::pool::unhealthy;
use super::{Access, App, HttpError};
use crate::db::workers::DeviceRow;
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
    // Uploads need a folder that files can be written to.
    tempfile::tempfile_in(app.context.spool.path()).map_err(|error| {
        tracing::error!("uploads cannot be spooled: {error}");
        Problem::new(Code::NotReady, "uploads cannot be stored at the moment")
    })?;
    let workers = workers::live(&mut conn).await?;
    if app.has_workers && workers.is_empty() {
        let detail = "no worker is running: none has started yet, or none can compute; see the service's log";
        return Err(Problem::new(Code::NotReady, detail).into());
    }
    if app.has_workers && workers.iter().all(|worker| worker.unhealthy_since.is_some()) {
        let reason = workers.iter().find_map(|worker| worker.unhealthy_reason.as_deref()).unwrap_or_default();
        let detail = match app.access {
            Access::Open => format!("every worker is unhealthy: {reason}"),
            // The reason can name a device.
            Access::Keys => "every worker is unhealthy; GET /v1/devices has the reasons, for admins".to_owned(),
        };
        return Err(Problem::new(Code::NotReady, detail).into());
    }
    let mut answer = json!({ "status": "ready", "database": "ok", "spool": "ok" });
    // This endpoint needs no key. If other endpoints do, it must not show hosts and devices.
    if app.access == Access::Open {
        answer["workers"] = workers.iter().map(shown).collect();
    }
    Ok(Json(answer))
}

fn shown(worker: &DeviceRow) -> Value {
    json!({
        "id": worker.id,
        "host": worker.host,
        "device": worker.device,
        "health": worker.health(),
        "unhealthy": unhealthy(worker),
    })
}
