//! API keys by their hashes, and their tenants.

use std::collections::HashMap;

use sqlx::FromRow;
use time::OffsetDateTime;

use super::shared_reads::SharedRead;
use super::{Connection, Db, DbError, Order, Page, Scope};
use crate::ids::{KeyId, Tenant};

/// A row of `api_key`, without the hash: only looking a key up needs it.
#[derive(Debug, Clone, FromRow)]
pub struct KeyRow {
    /// Id of the key, not the key itself.
    pub id: KeyId,
    /// Whose rows it opens.
    pub tenant: Tenant,
    /// What it may do with them.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Since when it opens nothing.
    pub revoked_at: Option<OffsetDateTime>,
}

/// Stores a key by its hash, and creates its tenant with the first one.
///
/// # Errors
/// As [`DbError`].
pub async fn insert(
    conn: &mut Connection,
    id: KeyId,
    tenant: &Tenant,
    scopes: &[Scope],
    sha256: &str,
) -> Result<KeyRow, DbError> {
    let insert = sqlx::query_as(
        "with tenant as (insert into tenant (name) values ($2) on conflict do nothing)
         insert into api_key (id, tenant, scopes, sha256) values ($1, $2, $3, $4)
         returning id, tenant, scopes, created_at, revoked_at",
    );
    Ok(insert.bind(id).bind(tenant).bind(scopes).bind(sha256).fetch_one(conn).await?)
}

/// A key's SHA-256 in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyHash(String);

/// A key that is shown, with the hash that it was found by.
#[derive(FromRow)]
struct ShownKey {
    sha256: String,
    #[sqlx(flatten)]
    key: KeyRow,
}

impl SharedRead for KeyHash {
    type Row = KeyRow;

    async fn fetch(conn: &mut Connection, hashes: &[Self]) -> Result<HashMap<Self, KeyRow>, DbError> {
        let hashes: Vec<&str> = hashes.iter().map(|hash| hash.0.as_str()).collect();
        let shown = sqlx::query_as(
            "select sha256, id, tenant, scopes, created_at, revoked_at from api_key
             where sha256 = any($1) and revoked_at is null",
        );
        let shown: Vec<ShownKey> = shown.bind(hashes).fetch_all(conn).await?;
        Ok(shown.into_iter().map(|row| (Self(row.sha256), row.key)).collect())
    }
}

impl Db {
    /// The key with this hash, unless it is revoked. Concurrent requests share a statement.
    ///
    /// # Errors
    /// As [`DbError`].
    pub async fn key_holder(&self, sha256: String) -> Result<Option<KeyRow>, DbError> {
        self.keys.get(self, KeyHash(sha256)).await
    }
}

/// A page of keys of all tenants, revoked ones too.
///
/// # Errors
/// As [`DbError`].
pub async fn list(conn: &mut Connection, page: Page) -> Result<Vec<KeyRow>, DbError> {
    let list = sqlx::query_as(
        "select id, tenant, scopes, created_at, revoked_at from api_key
         where $1::uuid is null or (case when $3 then id < $1 else id > $1 end)
         order by case when $3 then id end desc, id
         limit $2",
    );
    Ok(list.bind(page.after).bind(page.limit).bind(page.order == Order::Descending).fetch_all(conn).await?)
}

/// Revokes a key permanently; repeating it changes nothing. False if there is no such key.
///
/// # Errors
/// As [`DbError`].
pub async fn revoke(conn: &mut Connection, id: KeyId) -> Result<bool, DbError> {
    let revoke = sqlx::query("update api_key set revoked_at = coalesce(revoked_at, now()) where id = $1");
    Ok(revoke.bind(id).execute(conn).await?.rows_affected() == 1)
}

/// True if there is a key that is not revoked.
///
/// # Errors
/// As [`DbError`].
pub async fn any(conn: &mut Connection) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar("select exists (select from api_key where revoked_at is null)").fetch_one(conn).await?)
}
