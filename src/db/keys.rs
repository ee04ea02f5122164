//! Answers to POSTs that carried an Idempotency-Key.

use sqlx::FromRow;

use super::{Connection, DbError};
use crate::ids::Tenant;

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AnswerRow {
    /// Hash of the request it answers, in hex.
    pub request_sha256: String,
    /// HTTP status.
    pub status: i32,
    /// The Location header.
    pub location: Option<String>,
    /// The body, JSON as text.
    pub body: String,
}

/// The answer stored under a tenant's key in the last 24 hours.
///
/// # Errors
/// As [`DbError`].
pub async fn get(conn: &mut Connection, tenant: &Tenant, route: &str, key: &str) -> Result<Option<AnswerRow>, DbError> {
    let get = sqlx::query_as(
        "select request_sha256, status, location, body::text as body from idempotency_key
         where route = $1 and key = $2 and tenant = $3 and created_at > now() - interval '24 hours'",
    );
    Ok(get.bind(route).bind(key).bind(tenant).fetch_optional(conn).await?)
}

/// Stores a response; one older than 24 hours is overwritten. False if there is a newer one.
///
/// # Errors
/// As [`DbError`].
pub async fn put(
    conn: &mut Connection,
    tenant: &Tenant,
    route: &str,
    key: &str,
    answer: &AnswerRow,
) -> Result<bool, DbError> {
    let put = sqlx::query(
        "insert into idempotency_key (route, key, request_sha256, status, location, body, tenant)
         values ($1, $2, $3, $4, $5, $6::text::json, $7)
         on conflict (tenant, route, key) do update
             set (request_sha256, status, location, body, created_at) =
                 (excluded.request_sha256, excluded.status, excluded.location, excluded.body, now())
             where idempotency_key.created_at <= now() - interval '24 hours'",
    );
    let put = put.bind(route).bind(key).bind(&answer.request_sha256).bind(answer.status);
    Ok(put.bind(&answer.location).bind(&answer.body).bind(tenant).execute(conn).await?.rows_affected() == 1)
}

/// Deletes the answers that are older than 24 hours; how many.
///
/// # Errors
/// As [`DbError`].
pub async fn delete_old(conn: &mut Connection) -> Result<u64, DbError> {
    let delete = sqlx::query("delete from idempotency_key where created_at <= now() - interval '24 hours'");
    Ok(delete.execute(conn).await?.rows_affected())
}
