//! `/v1/tenants`: admins read and set the limits of tenants.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::extract::{JsonObject, Name};
use super::fields::Fields;
use super::list::List;
use super::{App, HttpError};
use crate::db::tenants::{self as rows, Caps, TenantRow};
use crate::ids::Tenant;
use crate::problem::{Code, Problem};

pub(super) fn router() -> Router<App> {
    Router::new().route("/v1/tenants", get(list)).route("/v1/tenants/{name}", get(show).put(set))
}

#[derive(Debug, Serialize)]
struct Shown {
    object: &'static str,
    name: Tenant,
    /// Its own limits; null if those of `serve` apply.
    max_running: Option<i32>,
    max_queued: Option<i32>,
    /// The limits in effect; null is no limit.
    counts: Counts,
    running_tasks: i64,
    queued_jobs: i64,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Debug, Serialize)]
struct Counts {
    max_running: Option<i32>,
    max_queued: Option<i32>,
}

impl From<TenantRow> for Shown {
    fn from(row: TenantRow) -> Self {
        Self {
            object: "tenant",
            name: row.name,
            max_running: row.own.max_running,
            max_queued: row.own.max_queued,
            counts: Counts { max_running: row.running_cap, max_queued: row.queued_cap },
            running_tasks: row.running_tasks,
            queued_jobs: row.queued_jobs,
            created_at: row.created_at,
        }
    }
}

async fn list(State(app): State<App>) -> Result<Json<List<Shown>>, HttpError> {
    let mut conn = app.context.db.connection().await?;
    Ok(Json(List::whole(rows::list(&mut conn).await?.into_iter().map(Shown::from).collect())))
}

async fn show(State(app): State<App>, Name(name): Name) -> Result<Json<Shown>, HttpError> {
    let tenant = name.parse().map_err(|_| not_found(&name))?;
    look(&app, &tenant).await
}

/// Sets both limits; creates the tenant if it does not exist.
async fn set(State(app): State<App>, Name(name): Name, body: JsonObject) -> Result<Json<Shown>, HttpError> {
    let tenant: Tenant =
        name.parse().map_err(|error: crate::ids::BadTenant| Problem::new(Code::InvalidTenant, error.to_string()))?;
    let caps = caps(&body.object)?;
    let mut conn = app.context.db.connection().await?;
    rows::set_caps(&mut conn, &tenant, caps).await?;
    drop(conn);
    look(&app, &tenant).await
}

fn caps(body: &Map<String, Value>) -> Result<Caps, HttpError> {
    let mut fields = Fields::of(body);
    let hint = "a whole number, 0 to pause the tenant, or null for the limit of all tenants";
    let mut cap = |name| {
        let given: Option<i32> = fields.take::<Option<i32>>(name, hint).flatten();
        if given.is_some_and(i32::is_negative) {
            fields.refuse(name, "a limit must not be negative".to_owned(), hint);
        }
        given
    };
    let caps = Caps { max_running: cap("max_running"), max_queued: cap("max_queued") };
    fields.end(Code::InvalidTenant)?;
    Ok(caps)
}

async fn look(app: &App, tenant: &Tenant) -> Result<Json<Shown>, HttpError> {
    let mut conn = app.context.db.connection().await?;
    match rows::get(&mut conn, tenant).await? {
        Some(row) => Ok(Json(row.into())),
        None => Err(not_found(tenant.as_str())),
    }
}

fn not_found(name: &str) -> HttpError {
    Problem::new(Code::TenantNotFound, format!("there is no tenant {name:?}")).into()
}
