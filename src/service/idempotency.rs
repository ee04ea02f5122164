//! The same POST twice is one: the answer under an Idempotency-Key commits with what it answers.

use super::{ServiceError, refuse};
use crate::db::keys::{self, AnswerRow};
use crate::db::{Connection, Db, admin};
use crate::ids::Tenant;
use crate::problem::Code;

/// What a POST with an Idempotency-Key carries.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Whose key it is.
    pub tenant: Tenant,
    /// Method and path; a key counts for one of them.
    pub route: &'static str,
    /// The customer's key.
    pub key: String,
    /// Hash of the request, in hex.
    pub request_sha256: String,
}

impl Idempotency {
    /// The stored answer to this very request, where there is one. Otherwise the key is ours until the caller's
    /// transaction ends.
    ///
    /// # Errors
    /// A refusal where the key belongs to another request, or to one in flight; else as [`ServiceError`].
    pub async fn begin(&self, conn: &mut Connection) -> Result<Option<AnswerRow>, ServiceError> {
        if !admin::try_lock(conn, &format!("idempotency {} {} {}", self.tenant, self.route, self.key)).await? {
            return refuse(
                Code::IdempotencyKeyInFlight,
                format!("a request with the key {:?} is still in progress", self.key),
            );
        }
        self.stored(conn).await
    }

    /// The stored answer to this very request, if there is one, before anything is checked: so a repeated request gets its answer
    /// even if what it names is gone. Claims nothing; [`Self::begin`] does.
    ///
    /// # Errors
    /// A refusal if the key belongs to another request; else as [`ServiceError`].
    pub async fn look(&self, db: &Db) -> Result<Option<AnswerRow>, ServiceError> {
        self.stored(&mut *db.connection().await?).await
    }

    async fn stored(&self, conn: &mut Connection) -> Result<Option<AnswerRow>, ServiceError> {
        match keys::get(conn, &self.tenant, self.route, &self.key).await? {
            Some(answer) if answer.request_sha256 != self.request_sha256 => {
                let detail = format!("the key {:?} was used for a request with another body", self.key);
                refuse(Code::IdempotencyKeyReused, detail)
            }
            found => Ok(found),
        }
    }

    /// Stores the answer with what it answers.
    ///
    /// # Errors
    /// As [`ServiceError`].
    pub async fn remember(
        &self,
        conn: &mut Connection,
        status: u16,
        location: Option<&str>,
        body: &str,
    ) -> Result<(), ServiceError> {
        let answer = AnswerRow {
            request_sha256: self.request_sha256.clone(),
            status: status.into(),
            location: location.map(str::to_owned),
            body: body.to_owned(),
        };
        if keys::put(conn, &self.tenant, self.route, &self.key, &answer).await? {
            return Ok(());
        }
        // The lock of `begin` keeps others out.
        refuse(Code::IdempotencyKeyInFlight, format!("the key {:?} was used meanwhile", self.key))
    }
}
