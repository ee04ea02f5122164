//! The pool and the queue: `/v1/devices` for people and programs, `/metrics` for Prometheus. Only admins see figures about all
//! tenants.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::auth::Caller;
use super::list::List;
use super::{App, HttpError};
use crate::db::metrics::{self, Metric, Sample};
use crate::db::workers::{self, DeviceRow};
use crate::db::{Scope, TaskKind, TaskState};
use crate::ids::{JobId, WorkerId};

/// The text format that Prometheus scrapes.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/devices", get(devices))
}

/// Figures about all tenants.
pub(super) fn for_admins() -> Router<App> {
    Router::new().route("/metrics", get(figures))
}

/// A worker and its device, as admins see it.
#[derive(Debug, Serialize)]
struct Device {
    object: &'static str,
    /// Id of the worker process.
    id: WorkerId,
    host: String,
    device: String,
    /// A GPU's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `busy`, `idle`, `unhealthy` (idle because consecutive tasks failed on it), or `silent` (no heartbeat for more than a
    /// minute).
    state: &'static str,
    /// `ok` or `unhealthy`, independent of its state.
    health: &'static str,
    /// Since when it is unhealthy, and why.
    unhealthy: Option<Value>,
    /// The task that it is running.
    job: Option<JobId>,
    task: Option<TaskKind>,
    block: Option<String>,
    version: String,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    last_heartbeat: OffsetDateTime,
}

impl From<DeviceRow> for Device {
    fn from(row: DeviceRow) -> Self {
        let state = match (row.silent, row.state) {
            (true, _) => "silent",
            (false, Some(TaskState::Running)) => "busy",
            (false, _) if row.unhealthy_since.is_some() => "unhealthy",
            (false, _) => "idle",
        };
        let (health, unhealthy) = (row.health(), unhealthy(&row));
        Self {
            object: "device",
            id: row.id,
            host: row.host,
            device: row.device,
            name: row.device_name,
            state,
            health,
            unhealthy,
            job: row.job,
            task: row.kind,
            block: row.block,
            version: row.version,
            started_at: row.started_at,
            last_heartbeat: row.seen_at,
        }
    }
}

/// Devices of one class, as other callers see them: what a job can ask for, without hosts and other tenants' tasks.
#[derive(Debug, Serialize)]
struct DeviceClass {
    object: &'static str,
    /// `cpu` or `cuda`.
    device: String,
    /// A GPU's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Number of workers with a heartbeat in the last minute.
    workers: usize,
    /// Number of unhealthy workers among them.
    unhealthy: usize,
    /// Number of workers among them that compute for the caller.
    yours: usize,
}

/// The pool by class of device.
fn classes(rows: Vec<DeviceRow>, caller: &Caller) -> Vec<DeviceClass> {
    let mut classes: BTreeMap<(String, Option<String>), (usize, usize, usize)> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| !row.silent) {
        let class = row.device.split(':').next().unwrap_or_default().to_owned();
        let (workers, unhealthy, yours) = classes.entry((class, row.device_name)).or_default();
        *workers += 1;
        *unhealthy += usize::from(row.unhealthy_since.is_some());
        *yours += usize::from(row.tenant.as_ref() == Some(&caller.tenant));
    }
    let class = |((device, name), (workers, unhealthy, yours))| DeviceClass {
        object: "device_class",
        device,
        name,
        workers,
        unhealthy,
        yours,
    };
    classes.into_iter().map(class).collect()
}

/// Since when a worker is unhealthy, and why; `None` if it is healthy.
pub(super) fn unhealthy(row: &DeviceRow) -> Option<Value> {
    let since = row.unhealthy_since?.format(&Rfc3339).ok()?;
    Some(json!({ "since": since, "reason": row.unhealthy_reason }))
}

async fn devices(State(app): State<App>, caller: Caller) -> Result<Response, HttpError> {
    let mut conn = app.context.db.connection().await?;
    let rows = workers::devices(&mut conn).await?;
    if caller.may(Scope::Admin) {
        return Ok(Json(List::whole(rows.into_iter().map(Device::from).collect())).into_response());
    }
    Ok(Json(List::whole(classes(rows, &caller))).into_response())
}

async fn figures(State(app): State<App>) -> Result<impl IntoResponse, HttpError> {
    let all = metrics::read(&app.context.db).await?;
    Ok(([(CONTENT_TYPE, TEXT)], all.iter().map(|(metric, samples)| family(metric, samples)).collect::<String>()))
}

/// Help, type and samples of a metric. Labels are internal names, which need no escaping.
fn family(Metric { name, kind, help, label, .. }: &Metric, samples: &[Sample]) -> String {
    let mut text = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for sample in samples {
        let labels = match (label, &sample.label) {
            (Some(label), Some(value)) => format!("{{{label}=\"{value}\"}}"),
            _ => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}{labels} {}", sample.value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_prometheus_reads_it() {
        let metric = metrics::METRICS.iter().find(|metric| metric.name == "practised_claims_total").expect("there");
        let sample = Sample { label: Some("score".into()), value: 12.0 };
        let text = family(metric, &[sample]);
        assert!(text.starts_with("# HELP practised_claims_total Tasks started"), "{text}");
        assert!(
            text.ends_with("# TYPE practised_claims_total counter\npractised_claims_total{task=\"score\"} 12\n"),
            "{text}"
        );
    }
}
