//! Bytes by their hash, in chunks of 1 MiB.

use super::{Connection, DbError};

/// Condition on a row of `blob`: nobody names it.
macro_rules! unowned {
    () => {
        "not exists (select from model where model.sha256 = blob.sha256)
           and not exists (select from image_set where image_set.sha256 = blob.sha256)
           and not exists (select from image_set where image_set.labels_sha256 = blob.sha256)
           and not exists (select from task_blob where task_blob.sha256 = blob.sha256)
           and not exists (select from artifact where artifact.sha256 = blob.sha256)"
    };
}
pub(super) use unowned;

/// Size of a chunk in bytes; the last one of a blob may be shorter.
pub const CHUNK: usize = 1 << 20;

/// Makes a blob's row and locks it until the transaction ends, so that it is not deleted before somebody owns it. True
/// where it is new: then its chunks are to follow in the same transaction.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(conn: &mut Connection, sha256: &str, size: i64) -> Result<bool, DbError> {
    let new = sqlx::query_scalar(
        "insert into blob (sha256, size) values ($1, $2)
         on conflict (sha256) do update set size = excluded.size
         returning xmax = 0",
    );
    Ok(new.bind(sha256).bind(size).fetch_one(conn).await?)
}

/// Stores one chunk.
///
/// # Errors
/// As [`DbError`].
pub async fn insert_chunk(conn: &mut Connection, sha256: &str, position: i32, bytes: &[u8]) -> Result<(), DbError> {
    let insert = sqlx::query("insert into blob_chunk (sha256, position, bytes) values ($1, $2, $3)");
    insert.bind(sha256).bind(position).bind(bytes).execute(conn).await?;
    Ok(())
}

/// A blob's size in bytes.
///
/// # Errors
/// As [`DbError`].
pub async fn size(conn: &mut Connection, sha256: &str) -> Result<Option<i64>, DbError> {
    Ok(sqlx::query_scalar("select size from blob where sha256 = $1").bind(sha256).fetch_optional(conn).await?)
}

/// One chunk.
///
/// # Errors
/// As [`DbError`].
pub async fn chunk(conn: &mut Connection, sha256: &str, position: i32) -> Result<Option<Vec<u8>>, DbError> {
    let chunk = sqlx::query_scalar("select bytes from blob_chunk where sha256 = $1 and position = $2");
    Ok(chunk.bind(sha256).bind(position).fetch_optional(conn).await?)
}

/// Deletes a blob if nobody owns it. One that gets an owner at this very moment is kept by its foreign key, with an error.
///
/// # Errors
/// As [`DbError`].
pub async fn delete_if_unowned(conn: &mut Connection, sha256: &str) -> Result<(), DbError> {
    sqlx::query(concat!("delete from blob where sha256 = $1 and ", unowned!())).bind(sha256).execute(conn).await?;
    Ok(())
}

/// Deletes the blobs that nobody owns; how many. One that gets an owner at this very moment is kept by its foreign key:
/// then the statement fails, and the next sweep tries again.
///
/// # Errors
/// As [`DbError`].
pub async fn delete_orphans(conn: &mut Connection) -> Result<u64, DbError> {
    let deleted = sqlx::query(concat!("delete from blob where ", unowned!()));
    Ok(deleted.execute(conn).await?.rows_affected())
}
