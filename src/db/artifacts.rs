//! What a job leaves behind: its report and the files a customer downloads.

use sqlx::FromRow;

use super::{Connection, DbError};
use crate::ids::JobId;

/// A row of `artifact`.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ArtifactRow {
    /// File name.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// Hash of its bytes, in hex.
    pub sha256: String,
    /// Bytes.
    pub size: i64,
}

/// Stores a job's report, JSON as text so that its fields keep their order.
///
/// # Errors
/// As [`DbError`].
pub async fn insert_report(conn: &mut Connection, job: JobId, body: &str) -> Result<(), DbError> {
    sqlx::query("insert into report (job, body) values ($1, $2::text::json)")
        .bind(job)
        .bind(body)
        .execute(conn)
        .await?;
    Ok(())
}

/// A job's report as JSON text.
///
/// # Errors
/// As [`DbError`].
pub async fn report(conn: &mut Connection, job: JobId) -> Result<Option<String>, DbError> {
    Ok(sqlx::query_scalar("select body::text from report where job = $1").bind(job).fetch_optional(conn).await?)
}

/// Stores an artifact whose blob already exists.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(conn: &mut Connection, job: JobId, artifact: &ArtifactRow) -> Result<(), DbError> {
    let insert = sqlx::query(
        "insert into artifact (job, name, media_type, sha256, size, tenant)
         select $1, $2, $3, $4, $5, tenant from job where id = $1",
    );
    let insert = insert.bind(job).bind(&artifact.name).bind(&artifact.media_type);
    insert.bind(&artifact.sha256).bind(artifact.size).execute(conn).await?;
    Ok(())
}

/// A job's artifacts by name.
///
/// # Errors
/// As [`DbError`].
pub async fn list(conn: &mut Connection, job: JobId) -> Result<Vec<ArtifactRow>, DbError> {
    let list = sqlx::query_as("select name, media_type, sha256, size from artifact where job = $1 order by name");
    Ok(list.bind(job).fetch_all(conn).await?)
}

/// One artifact.
///
/// # Errors
/// As [`DbError`].
pub async fn get(conn: &mut Connection, job: JobId, name: &str) -> Result<Option<ArtifactRow>, DbError> {
    let get = sqlx::query_as("select name, media_type, sha256, size from artifact where job = $1 and name = $2");
    Ok(get.bind(job).bind(name).fetch_optional(conn).await?)
}
