//! Uploaded networks.

use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;

use super::{Connection, DbError, Page};
use crate::ids::ModelId;

/// A row of `model`.
#[derive(Debug, Clone, FromRow)]
pub struct ModelRow {
    /// Primary key.
    pub id: ModelId,
    /// Hash of the file, in hex.
    pub sha256: String,
    /// What the customer called it.
    pub name: Option<String>,
    /// Bytes of the file.
    pub size: i64,
    /// What was found at upload, as `compress::analyse` wrote it.
    pub analysis: Value,
    /// When it came.
    pub created_at: OffsetDateTime,
}

/// Inserts a model whose blob is there already; `None` where its bytes are a model already.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(
    conn: &mut Connection,
    id: ModelId,
    sha256: &str,
    name: Option<&str>,
    size: i64,
    analysis: &Value,
) -> Result<Option<ModelRow>, DbError> {
    let insert = sqlx::query_as(
        "insert into model (id, sha256, name, size, analysis) values ($1, $2, $3, $4, $5)
         on conflict (sha256) do nothing
         returning id, sha256, name, size, analysis, created_at",
    );
    Ok(insert.bind(id).bind(sha256).bind(name).bind(size).bind(analysis).fetch_optional(conn).await?)
}

/// One model.
///
/// # Errors
/// As [`DbError`].
pub async fn get(conn: &mut Connection, id: ModelId) -> Result<Option<ModelRow>, DbError> {
    let get = sqlx::query_as("select id, sha256, name, size, analysis, created_at from model where id = $1");
    Ok(get.bind(id).fetch_optional(conn).await?)
}

/// The model with these bytes.
///
/// # Errors
/// As [`DbError`].
pub async fn by_sha256(conn: &mut Connection, sha256: &str) -> Result<Option<ModelRow>, DbError> {
    let get = sqlx::query_as("select id, sha256, name, size, analysis, created_at from model where sha256 = $1");
    Ok(get.bind(sha256).fetch_optional(conn).await?)
}

/// A page of models.
///
/// # Errors
/// As [`DbError`].
pub async fn list(conn: &mut Connection, page: Page) -> Result<Vec<ModelRow>, DbError> {
    let list = sqlx::query_as(
        "select id, sha256, name, size, analysis, created_at from model
         where $1::uuid is null or (case when $3 then id < $1 else id > $1 end)
         order by case when $3 then id end desc, id
         limit $2",
    );
    Ok(list.bind(page.after).bind(page.limit).bind(page.descending()).fetch_all(conn).await?)
}

/// Deletes a model; false where it is not there. The constraint `live_job_has_its_inputs` refuses while a job uses it.
///
/// # Errors
/// As [`DbError`].
pub async fn delete(conn: &mut Connection, id: ModelId) -> Result<bool, DbError> {
    Ok(sqlx::query("delete from model where id = $1").bind(id).execute(conn).await?.rows_affected() == 1)
}
