//! Bytes in and out of the database, chunk by chunk.

use std::path::Path;

use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::db::blobs::{self, CHUNK};
use crate::db::{Connection, Db, DbError};
use crate::hash::sha256_hex;
use crate::ids::Tenant;

/// Why bytes were not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The database refused or did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Stored bytes are not what the row says.
    #[error("blob {sha256} is damaged: {detail}")]
    Damaged {
        /// Its hash as stored.
        sha256: String,
        /// What is wrong.
        detail: String,
    },
    /// The file that holds them could not be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Stores bytes for a tenant in the caller's transaction; their hash. Bytes that the tenant has are not stored again.
///
/// # Errors
/// As [`BlobError`].
pub async fn put_bytes(conn: &mut Connection, tenant: &Tenant, bytes: &[u8]) -> Result<String, BlobError> {
    let sha256 = sha256_hex(bytes);
    if blobs::insert(conn, tenant, &sha256, bytes.len() as i64).await? {
        for (position, chunk) in (0..).zip(bytes.chunks(CHUNK)) {
            blobs::insert_chunk(conn, tenant, &sha256, position, chunk).await?;
        }
    }
    Ok(sha256)
}

/// The same for a file whose hash is known already.
///
/// # Errors
/// As [`BlobError`].
pub async fn put_file(
    conn: &mut Connection,
    tenant: &Tenant,
    path: &Path,
    sha256: &str,
    size: u64,
) -> Result<(), BlobError> {
    if !blobs::insert(conn, tenant, sha256, size as i64).await? {
        return Ok(());
    }
    let mut file = File::open(path).await?;
    let mut chunk = vec![0; CHUNK];
    for position in 0.. {
        let filled = fill(&mut file, &mut chunk).await?;
        if filled == 0 {
            break;
        }
        blobs::insert_chunk(conn, tenant, sha256, position, &chunk[..filled]).await?;
    }
    Ok(())
}

async fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Reads a whole blob of a tenant and compares its hash.
///
/// # Errors
/// As [`BlobError`]; a blob that is not there is a damaged one, because foreign keys keep those that have an owner.
pub async fn read(db: &Db, tenant: &Tenant, sha256: &str) -> Result<Vec<u8>, BlobError> {
    let mut conn = db.connection().await?;
    let size = blobs::size(&mut conn, tenant, sha256).await?.ok_or_else(|| damaged(sha256, "it is missing"))?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    for position in 0.. {
        match blobs::chunk(&mut conn, tenant, sha256, position).await? {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => break,
        }
    }
    if sha256_hex(&bytes) == sha256 { Ok(bytes) } else { Err(damaged(sha256, "its bytes have another hash")) }
}

fn damaged(sha256: &str, detail: &str) -> BlobError {
    BlobError::Damaged { sha256: sha256.to_owned(), detail: detail.to_owned() }
}
