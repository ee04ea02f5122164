//! Scores of blocks, kept for the next job on the same model and images.

use serde_json::Value;
use sqlx::FromRow;

use super::{Connection, DbError};
use crate::ids::{JobId, ModelId};

/// What a score belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreKey {
    /// The model.
    pub model: ModelId,
    /// Hash of the image archive; empty for a job without images.
    pub images_sha256: String,
    /// Hash of what else a score depends on.
    pub wishes: String,
}

/// A score.
#[derive(Debug, Clone, FromRow)]
pub struct ScoreRow {
    /// The block.
    pub block: String,
    /// What its task brought.
    pub result: Value,
}

/// The existing scores of these blocks.
///
/// # Errors
/// As [`DbError`].
pub async fn find(conn: &mut Connection, key: &ScoreKey, blocks: &[&str]) -> Result<Vec<ScoreRow>, DbError> {
    let find = sqlx::query_as(
        "select block, result from score
         where model = $1 and images_sha256 = $2 and wishes = $3 and block = any($4)",
    );
    let find = find.bind(key.model).bind(&key.images_sha256).bind(&key.wishes).bind(blocks);
    Ok(find.fetch_all(conn).await?)
}

/// Deletes the scores of models that are gone; how many.
///
/// # Errors
/// As [`DbError`].
pub async fn delete_of_gone_models(conn: &mut Connection) -> Result<u64, DbError> {
    let delete = sqlx::query("delete from score where not exists (select from model where model.id = score.model)");
    Ok(delete.execute(conn).await?.rows_affected())
}

/// Stores a score; an existing one stays.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(
    conn: &mut Connection,
    key: &ScoreKey,
    block: &str,
    result: &Value,
    job: JobId,
) -> Result<(), DbError> {
    let insert = sqlx::query(
        "insert into score (model, images_sha256, wishes, block, result, job)
         values ($1, $2, $3, $4, $5, $6)
         on conflict do nothing",
    );
    let insert = insert.bind(key.model).bind(&key.images_sha256).bind(&key.wishes);
    insert.bind(block).bind(result).bind(job).execute(conn).await?;
    Ok(())
}
