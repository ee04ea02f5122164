//! Uploaded networks. Each belongs to one tenant; queries of other tenants do not find it.

use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;

use super::page::page;
use super::{Connection, DbError, Page};
use crate::ids::{ModelId, Tenant};

/// A row of `model`.
#[derive(Debug, Clone, FromRow)]
pub struct ModelRow {
    /// Id of the model.
    pub id: ModelId,
    /// Hash of the file, in hex.
    pub sha256: String,
    /// What the customer called it.
    pub name: Option<String>,
    /// Bytes of the file.
    pub size: i64,
    /// What was found at upload, as `network::analyse` wrote it.
    pub analysis: Value,
    /// When it came.
    pub created_at: OffsetDateTime,
}

/// Inserts a model whose blob already exists; `None` if the tenant already has a model with these bytes.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(
    conn: &mut Connection,
    tenant: &Tenant,
    id: ModelId,
    sha256: &str,
    name: Option<&str>,
    size: i64,
    analysis: &Value,
) -> Result<Option<ModelRow>, DbError> {
    let insert = sqlx::query_as(
        "insert into model (id, sha256, name, size, analysis, tenant) values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant, sha256) do nothing
         returning id, sha256, name, size, analysis, created_at",
    );
    Ok(insert.bind(id).bind(sha256).bind(name).bind(size).bind(analysis).bind(tenant).fetch_optional(conn).await?)
}

/// One model of a tenant.
///
/// # Errors
/// As [`DbError`].
pub async fn get(conn: &mut Connection, tenant: &Tenant, id: ModelId) -> Result<Option<ModelRow>, DbError> {
    let get =
        sqlx::query_as("select id, sha256, name, size, analysis, created_at from model where id = $1 and tenant = $2");
    Ok(get.bind(id).bind(tenant).fetch_optional(conn).await?)
}

/// The tenant's model with these bytes.
///
/// # Errors
/// As [`DbError`].
pub async fn by_sha256(conn: &mut Connection, tenant: &Tenant, sha256: &str) -> Result<Option<ModelRow>, DbError> {
    let get = sqlx::query_as(
        "select id, sha256, name, size, analysis, created_at from model where sha256 = $1 and tenant = $2",
    );
    Ok(get.bind(sha256).bind(tenant).fetch_optional(conn).await?)
}

/// A page of a tenant's models.
///
/// # Errors
/// As [`DbError`].
pub async fn list(conn: &mut Connection, tenant: &Tenant, page: Page) -> Result<Vec<ModelRow>, DbError> {
    let list =
        page.query(page!("select id, sha256, name, size, analysis, created_at from model", "true", "tenant", "$3"));
    Ok(list.bind(tenant).fetch_all(conn).await?)
}

/// Deletes a model; false if it does not exist. The constraint `live_job_has_its_inputs` refuses while a job uses it.
///
/// # Errors
/// As [`DbError`].
pub async fn delete(conn: &mut Connection, tenant: &Tenant, id: ModelId) -> Result<bool, DbError> {
    let delete = sqlx::query("delete from model where id = $1 and tenant = $2");
    Ok(delete.bind(id).bind(tenant).execute(conn).await?.rows_affected() == 1)
}
