//! API keys: made, listed, revoked, and recognised.

use std::fmt;

use rand::TryRngCore;
use rand::rngs::OsRng;

use super::idempotency::{Answer, Idempotency, Once, Posted};
use super::{ServiceError, refuse};
use crate::db::api_keys::{self, KeyRow};
use crate::db::keys::AnswerRow;
use crate::db::{CommitPoint, Db, Page, Scope};
use crate::hash::{hex, sha256_hex};
use crate::ids::{KeyId, Tenant};
use crate::problem::Code;

/// What every key begins with, so that one that leaked is found by what looks for secrets.
const PREFIX: &str = "practised_";

/// Random bytes of a key.
const BYTES: usize = 32;

/// A key as its holder shows it. It is in no log: its debug form says nothing.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    fn draw() -> Result<Self, ServiceError> {
        let mut bytes = [0; BYTES];
        OsRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(format!("{PREFIX}{}", hex(&bytes))))
    }

    /// The key itself, for the one time that it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Makes a key; its tenant comes to be with its first one. The secret is in the answer and nowhere else: only its hash is stored.
///
/// # Errors
/// As [`ServiceError`].
pub async fn create(db: &Db, tenant: &Tenant, scopes: &[Scope]) -> Result<(KeyRow, Secret), ServiceError> {
    create_once(db, tenant, scopes, None, |_| Ok(String::new())).await
}

/// The same for a request that may carry an Idempotency-Key. `answer` writes the response's body without the secret, which is what is
/// kept: a repeated request cannot get the secret again, and is refused with the id of the key that it made.
///
/// # Errors
/// A refusal if the request was made before, or the Idempotency-Key belongs to another one; else as [`ServiceError`].
pub async fn create_once(
    db: &Db,
    tenant: &Tenant,
    scopes: &[Scope],
    key: Option<&Idempotency>,
    answer: impl Fn(&KeyRow) -> Result<String, ServiceError> + Send,
) -> Result<(KeyRow, Secret), ServiceError> {
    // Looked up before the key is claimed: a refusal would hold the claim until its transaction is rolled back.
    if let Some(before) = Once::before(db, key).await? {
        return made_before(&before);
    }
    let secret = Secret::draw()?;
    let mut once = match Once::begin(db, key).await? {
        Posted::Before(before) => return made_before(&before),
        Posted::Done(once) => once,
    };
    let hash = sha256_hex(secret.0.as_bytes());
    let row = api_keys::insert(once.conn(), KeyId::new(), tenant, scopes, &hash).await?;
    let answer = Answer { status: 201, location: format!("/v1/api-keys/{}", row.id), body: answer(&row)? };
    once.commit(CommitPoint::ApiKey, answer).await?;
    Ok((row, secret))
}

fn made_before<T>(answer: &AnswerRow) -> Result<T, ServiceError> {
    let id = answer.location.as_deref().and_then(|location| location.rsplit('/').next()).unwrap_or_default();
    refuse(
        Code::KeyMade,
        format!("this request was already answered: it created the API key {id}, which is shown only once"),
    )
}

/// A page of the keys of all tenants.
///
/// # Errors
/// As [`ServiceError`].
pub async fn list(db: &Db, page: Page) -> Result<Vec<KeyRow>, ServiceError> {
    let mut conn = db.connection().await?;
    Ok(api_keys::list(&mut conn, page).await?)
}

/// Revokes a key: the next request that shows it is refused.
///
/// # Errors
/// A refusal where there is none; else as [`ServiceError`].
pub async fn revoke(db: &Db, id: KeyId) -> Result<(), ServiceError> {
    let mut conn = db.connection().await?;
    if api_keys::revoke(&mut conn, id).await? {
        return Ok(());
    }
    refuse(Code::KeyNotFound, format!("there is no API key {id}"))
}

/// The key that this text is, unless it is revoked or none. Found by its hash: how long that takes tells nothing about a key.
///
/// # Errors
/// As [`ServiceError`].
pub async fn recognise(db: &Db, text: &str) -> Result<Option<KeyRow>, ServiceError> {
    Ok(db.key_holder(sha256_hex(text.as_bytes())).await?)
}

/// True where there is a key that somebody could show.
///
/// # Errors
/// As [`ServiceError`].
pub async fn any(db: &Db) -> Result<bool, ServiceError> {
    let mut conn = db.connection().await?;
    Ok(api_keys::any(&mut conn).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_different_and_say_nothing_in_a_log() {
        let (one, other) = (Secret::draw().expect("drawn"), Secret::draw().expect("drawn"));
        assert_eq!(one.reveal().len(), PREFIX.len() + 2 * BYTES);
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(format!("{one:?}"), "Secret(…)");
    }
}
