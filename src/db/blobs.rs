//! Bytes by their tenant and their hash, in chunks of 1 MiB.
//!
//! The same bytes are kept once within a tenant and apart between tenants, so that storing them takes the same statements whether
//! or not another tenant has them.

use super::{Connection, DbError};
use crate::ids::Tenant;

/// Condition on a row of `blob`: no row names it.
macro_rules! unowned {
    () => {
        "not exists (select from model where (model.tenant, model.sha256) = (blob.tenant, blob.sha256))
           and not exists (select from image_set where (image_set.tenant, image_set.sha256) = (blob.tenant, blob.sha256))
           and not exists (select from image_set
                           where (image_set.tenant, image_set.labels_sha256) = (blob.tenant, blob.sha256))
           and not exists (select from task_blob where (task_blob.tenant, task_blob.sha256) = (blob.tenant, blob.sha256))
           and not exists (select from artifact where (artifact.tenant, artifact.sha256) = (blob.tenant, blob.sha256))"
    };
}
pub(super) use unowned;

/// Size of a chunk in bytes; the last one of a blob may be shorter.
pub const CHUNK: usize = 1 << 20;

/// Inserts a blob's row and locks it until the transaction ends, so that it is not deleted before it has an owner. True if it is
/// new to the tenant: then its chunks are to follow in the same transaction.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(conn: &mut Connection, tenant: &Tenant, sha256: &str, size: i64) -> Result<bool, DbError> {
    let new = sqlx::query_scalar(
        "insert into blob (tenant, sha256, size) values ($1, $2, $3)
         on conflict (tenant, sha256) do update set size = excluded.size
         returning xmax = 0",
    );
    Ok(new.bind(tenant).bind(sha256).bind(size).fetch_one(conn).await?)
}

/// Stores one chunk.
///
/// # Errors
/// As [`DbError`].
pub async fn insert_chunk(
    conn: &mut Connection,
    tenant: &Tenant,
    sha256: &str,
    position: i32,
    bytes: &[u8],
) -> Result<(), DbError> {
    let insert = sqlx::query("insert into blob_chunk (tenant, sha256, position, bytes) values ($1, $2, $3, $4)");
    insert.bind(tenant).bind(sha256).bind(position).bind(bytes).execute(conn).await?;
    Ok(())
}

/// A blob's size in bytes.
///
/// # Errors
/// As [`DbError`].
pub async fn size(conn: &mut Connection, tenant: &Tenant, sha256: &str) -> Result<Option<i64>, DbError> {
    let size = sqlx::query_scalar("select size from blob where tenant = $1 and sha256 = $2");
    Ok(size.bind(tenant).bind(sha256).fetch_optional(conn).await?)
}

/// One chunk.
///
/// # Errors
/// As [`DbError`].
pub async fn chunk(
    conn: &mut Connection,
    tenant: &Tenant,
    sha256: &str,
    position: i32,
) -> Result<Option<Vec<u8>>, DbError> {
    let chunk = sqlx::query_scalar("select bytes from blob_chunk where tenant = $1 and sha256 = $2 and position = $3");
    Ok(chunk.bind(tenant).bind(sha256).bind(position).fetch_optional(conn).await?)
}

/// Deletes a blob if no row names it. One that gets an owner at this very moment is kept by its foreign key, with an error.
///
/// # Errors
/// As [`DbError`].
pub async fn delete_if_unowned(conn: &mut Connection, tenant: &Tenant, sha256: &str) -> Result<(), DbError> {
    let delete = sqlx::query(concat!("delete from blob where tenant = $1 and sha256 = $2 and ", unowned!()));
    delete.bind(tenant).bind(sha256).execute(conn).await?;
    Ok(())
}

/// Deletes the blobs that no row names; how many. One that gets an owner at this very moment is kept by its foreign key:
/// then the statement fails, and the next sweep tries again.
///
/// # Errors
/// As [`DbError`].
pub async fn delete_orphans(conn: &mut Connection) -> Result<u64, DbError> {
    let deleted = sqlx::query(concat!("delete from blob where ", unowned!()));
    Ok(deleted.execute(conn).await?.rows_affected())
}
